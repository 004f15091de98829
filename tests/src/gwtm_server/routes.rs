//! Handlers of the requests.

use axum::http::StatusCode;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::checks::{Checks, alert_row, galaxy, has_nul, icecube_event, icecube_row, iso, naive};
use super::{ADMIN, GalaxyList, Reply, Request, USER, World, reply};

/// Handles a request; whether the server has its IceCube search was looked up before ([`has_search`]).
pub(super) fn route(world: &mut World, request: &Request, has_search: bool) -> Reply {
    let known = [ADMIN, USER].contains(&request.user.as_deref().unwrap_or_default());
    let admin = request.user.as_deref() == Some(ADMIN);
    let refuse = |status: u16, message: &str| {
        if request.v0 { reply(500, json!(message)) } else { reply(status, json!({ "message": message })) }
    };
    let public = ["query_alerts", "gw_contour"].contains(&request.endpoint.as_str()) && !request.v0;
    if !known && !public {
        return refuse(401, "Invalid api_token");
    }
    let needs_admin = ["post_alert", "post_icecube_notice", "del_test_alerts"].contains(&request.endpoint.as_str());
    if needs_admin && !admin {
        return refuse(403, "Only admin can access this endpoint");
    }
    let token = request.user.as_deref().unwrap_or_default();
    let nothing = json!({});
    let body = request.body.as_ref().unwrap_or(&nothing);
    if has_nul(body) {
        return Reply(StatusCode::INTERNAL_SERVER_ERROR, json!({"message": "An unexpected error occurred"}), true);
    }
    match (request.method.as_str(), request.endpoint.as_str()) {
        ("GET", "query_alerts") => query_alerts(world, request),
        ("GET", "gw_contour") if !request.v0 => gw_contour(world, request),
        ("POST", "post_alert") => post_alert(world, body),
        ("GET", "event_galaxies") => event_galaxies(world, request),
        ("POST", "event_galaxies") => post_galaxies(world, token, body, request.v0),
        ("POST", "remove_event_galaxies") if request.v0 => remove(world, request, token),
        ("DELETE", "remove_event_galaxies") if !request.v0 => remove(world, request, token),
        ("POST", "post_icecube_notice") => post_icecube(world, body, request.v0, has_search),
        ("POST", "del_test_alerts") => del_test_alerts(world, request.v0),
        (
            _,
            "query_alerts"
            | "post_alert"
            | "event_galaxies"
            | "remove_event_galaxies"
            | "post_icecube_notice"
            | "del_test_alerts",
        ) => reply(405, json!({"detail": "Method Not Allowed"})),
        _ => reply(404, json!({"detail": "Not Found"})),
    }
}

fn invalid(errors: &[Value]) -> Reply {
    reply(400, json!({"message": "Request validation error", "errors": errors}))
}

fn query_alerts(world: &World, request: &Request) -> Reply {
    let nothing = Map::new();
    // v1 ignores a body, and returns the whole table without parameters.
    let filters = if request.v0 || request.body.is_none() { &request.query } else { &nothing };
    let text = |row: &Map<String, Value>, field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    let wanted = |field: &str| filters.get(field).and_then(Value::as_str).map(str::to_owned);
    let is = |row: &Map<String, Value>, field: &str| wanted(field).is_none_or(|value| text(row, field) == Some(value));
    let mut rows: Vec<_> = world
        .alerts
        .iter()
        .filter(|row| {
            let id = wanted("graceid").is_none_or(|id| {
                text(row, "graceid").as_ref() == Some(&id) || text(row, "alternateid").as_ref() == Some(&id)
            });
            id && is(row, "alert_type") && is(row, "role") && is(row, "observing_run")
        })
        .collect();
    // Newest first; the order of equal times is undefined.
    rows.reverse();
    rows.sort_by_key(|row| std::cmp::Reverse(text(row, "datecreated")));
    let number = |field: &str, default: usize| wanted(field).and_then(|text| text.parse().ok()).unwrap_or(default);
    if request.v0 || wanted("format").as_deref() != Some("paginated") {
        return reply(200, json!(rows));
    }
    let (page, per_page) = (number("page", 1), number("per_page", 25));
    if page < 1 || !(1..=100).contains(&per_page) {
        return invalid(&[json!({"message": "Input should be less than or equal to 100"})]);
    }
    let (total, pages) = (rows.len(), rows.len().div_ceil(per_page));
    let alerts: Vec<_> = rows.into_iter().skip((page - 1) * per_page).take(per_page).collect();
    reply(
        200,
        json!({
            "alerts": alerts, "total": total, "page": page, "per_page": per_page, "total_pages": pages,
            "has_next": page < pages, "has_prev": page > 1,
        }),
    )
}

/// The contours that the pages draw. Like the server, reads them always from `fit/`.
fn gw_contour(world: &World, request: &Request) -> Reply {
    let graceid = request.query.get("graceid").and_then(Value::as_str).unwrap_or_default();
    let found = world.served(graceid).filter(|_| !world.lost.contains(graceid)).and_then(|name| {
        let bytes = std::fs::read(world.files.as_ref()?.join(format!("fit/{name}-contours-smooth.json"))).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    found.map_or_else(
        || reply(404, json!({"message": "Error retrieving contour file"})),
        |contours| reply(200, contours),
    )
}

pub(super) fn post_alert(world: &mut World, body: &Value) -> Reply {
    let Some(fields) = body.as_object() else { return invalid(&[json!({"message": "Field required"})]) };
    let mut checks = Checks::new(fields, "body");
    let mut row = alert_row(&mut checks);
    if !checks.errors.is_empty() {
        return invalid(&checks.errors);
    }
    if checks.too_long {
        return reply(500, json!({"message": "A database error occurred"}));
    }
    if fields.get("id").is_some_and(|id| world.alerts.iter().any(|row| row.get("id") == Some(id))) {
        return reply(409, json!({"message": "The request conflicts with database constraints"}));
    }
    world.last_id += 1;
    row.insert("id".to_owned(), json!(world.last_id));
    row.insert("datecreated".to_owned(), json!(iso(Timestamp::now().to_zoned(TimeZone::UTC).datetime())));
    world.alerts.push(row.clone());
    reply(200, Value::Object(row))
}

/// The row to which a list with this stamp belongs: any of that superevent within 15 s.
fn row_at(world: &World, graceid: &str, stamp: &str) -> Option<i64> {
    let stamp = naive(stamp)?;
    let row = world.alerts.iter().find(|row| {
        let sent = row.get("timesent").and_then(Value::as_str).and_then(naive);
        row.get("graceid").and_then(Value::as_str) == Some(graceid)
            && sent.is_some_and(|sent| sent.duration_since(stamp).as_secs_f64().abs() < 15.0)
    })?;
    row.get("id").and_then(Value::as_i64)
}

fn no_such_stamp(v0: bool, graceid: &str) -> Reply {
    let message = format!("Invalid 'timesent_stamp' for event {graceid}");
    if v0 {
        reply(500, json!(message))
    } else {
        reply(400, json!({"message": message, "errors": ["see the alerts page"]}))
    }
}

pub(super) fn post_galaxies(world: &mut World, token: &str, body: &Value, v0: bool) -> Reply {
    let Some(fields) = body.as_object() else { return invalid(&[json!({"message": "Field required"})]) };
    let mut checks = Checks::new(fields, "body");
    for field in ["graceid", "timesent_stamp", "galaxies"] {
        checks.required(field);
    }
    let graceid = checks.string("graceid", usize::MAX).as_str().unwrap_or_default().to_owned();
    let stamp = checks.string("timesent_stamp", usize::MAX).as_str().unwrap_or_default().to_owned();
    let groupname = checks.string("groupname", usize::MAX).as_str().unwrap_or("username").to_owned();
    checks.string("reference", usize::MAX);
    let mut errors = checks.errors;
    // The format is `%Y-%m-%dT%H:%M:%S.%f`: a fraction is required, an offset is not understood.
    if naive(&stamp).is_none() || !stamp.contains('.') || stamp.ends_with('Z') {
        errors.push(
            json!({"message": "Time format must be %Y-%m-%dT%H:%M:%S.%f", "params": {"field": "body.timesent_stamp"}}),
        );
    }
    let galaxies = fields.get("galaxies").and_then(Value::as_array).cloned().unwrap_or_default();
    for (i, entry) in galaxies.iter().enumerate() {
        match entry.as_object() {
            Some(entry) => {
                let mut checks = Checks::new(entry, format!("body.galaxies.{i}"));
                galaxy(&mut checks);
                errors.append(&mut checks.errors);
            }
            None => errors.push(json!({"message": "Input should be a valid dictionary"})),
        }
    }
    if !errors.is_empty() {
        return invalid(&errors);
    }
    let Some(alert_id) = row_at(world, &graceid, &stamp) else { return no_such_stamp(v0, &graceid) };
    for entry in &galaxies {
        let info = entry.get("info").and_then(Value::as_object).into_iter().flatten();
        let texts = info.filter(|(key, value)| key.contains("dist") && !value.is_number());
        world.broken_pages.extend(texts.map(|(key, value)| format!("{graceid}: info `{key}` is {value}")));
    }
    world.last_id += 1;
    let id = world.last_id;
    let count = galaxies.len();
    world.lists.push(GalaxyList {
        id,
        user: token.to_owned(),
        graceid: graceid.clone(),
        alert_id,
        groupname,
        galaxies,
    });
    let message = format!("Successful adding of {count} galaxies for event {graceid}.  List ID");
    if v0 {
        reply(200, json!({ message: id.to_string(), "ERRORS": [], "WARNINGS": [] }))
    } else {
        reply(200, json!({"message": format!("{message}: {id}"), "errors": [], "warnings": []}))
    }
}

fn event_galaxies(world: &World, request: &Request) -> Reply {
    let wanted = |field: &str| request.query.get(field).and_then(Value::as_str);
    let Some(graceid) = wanted("graceid") else {
        return invalid(&[
            json!({"message": "Field required", "params": {"field": "query.graceid", "type": "missing"}}),
        ]);
    };
    let alert_id = match wanted("timesent_stamp") {
        None => None,
        Some(stamp) => match row_at(world, graceid, stamp) {
            None => return no_such_stamp(request.v0, graceid),
            found => found,
        },
    };
    let lists = world.lists.iter().filter(|list| {
        list.graceid == graceid
            && alert_id.is_none_or(|id| list.alert_id == id)
            && wanted("groupname").is_none_or(|name| list.groupname == name)
    });
    // Unordered.
    let mut entries: Vec<Value> = lists
        .flat_map(|list| list.galaxies.iter().map(|galaxy| (list.id, galaxy)))
        .map(|(listid, galaxy)| {
            let number = |field: &str| galaxy.get(field).and_then(Value::as_f64).unwrap_or_default();
            let ra = if number("ra") > 180.0 { number("ra") - 360.0 } else { number("ra") };
            json!({
                "id": 1, "listid": listid, "name": galaxy.get("name"), "score": galaxy.get("score"),
                "position": format!("POINT ({ra} {})", number("dec")), "rank": galaxy.get("rank"), "info": galaxy.get("info"),
            })
        })
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry["name"].as_str().map(str::to_owned)));
    reply(200, json!(entries))
}

fn remove(world: &mut World, request: &Request, token: &str) -> Reply {
    let id = request.query.get("listid").and_then(|id| id.as_i64().or_else(|| id.as_str()?.parse().ok()));
    let refuse = |status: u16, message: &str| {
        if request.v0 { reply(500, json!(message)) } else { reply(status, json!({ "message": message })) }
    };
    let Some(at) = world.lists.iter().position(|list| Some(list.id) == id) else {
        return refuse(404, "No galaxies with that listid");
    };
    if world.lists[at].user != token {
        return refuse(403, "You can only delete information related to your api_token");
    }
    world.lists.remove(at);
    reply(200, json!({"message": "Successfully deleted your galaxy list"}))
}

/// Whether the search of a `post_icecube_notice` is stored.
pub(super) fn has_search(world: &World, request: &Request) -> bool {
    let (notice, ref_id) = if request.v0 { ("icecube_notice", "ref_ID") } else { ("notice_data", "ref_id") };
    let ref_id = request.body.as_ref().and_then(|body| body.get(notice)?.get(ref_id)?.as_str());
    world.searches.iter().any(|row| row.get("ref_id").and_then(Value::as_str) == ref_id)
}

fn post_icecube(world: &mut World, body: &Value, v0: bool, has_search: bool) -> Reply {
    let (notice, events, ref_id) = if v0 {
        ("icecube_notice", "icecube_notice_coinc_events", "ref_ID")
    } else {
        ("notice_data", "events_data", "ref_id")
    };
    let part = |name: &str| body.get(name).cloned();
    let (Some(Value::Object(notice)), Some(Value::Array(events))) = (part(notice), part(events)) else {
        return invalid(&[
            json!({"message": "Field required", "params": {"field": "body.notice_data", "type": "missing"}}),
        ]);
    };
    let mut checks = Checks::new(&notice, "body.notice_data");
    let mut row = icecube_row(&mut checks, ref_id);
    let mut errors = checks.errors;
    let mut stored = Vec::new();
    for (i, event) in events.iter().enumerate() {
        let Some(event) = event.as_object() else {
            errors.push(json!({"message": "Input should be a valid dictionary"}));
            continue;
        };
        let mut checks = Checks::new(event, format!("body.events_data.{i}"));
        stored.push(icecube_event(&mut checks));
        errors.append(&mut checks.errors);
    }
    if !errors.is_empty() {
        return invalid(&errors);
    }
    // v0 encodes JSON twice.
    let twice = |value: Value| if v0 { json!(value.to_string()) } else { value };
    if has_search {
        let known = json!({"message": "event already exists"});
        return reply(200, json!({"icecube_notice": twice(known), "icecube_notice_events": []}));
    }
    world.last_id += 1;
    row.insert("id".to_owned(), json!(world.last_id));
    let answer = json!({"icecube_notice": twice(json!(row)), "icecube_notice_events": stored});
    row.insert("events".to_owned(), json!(stored));
    world.searches.push(row);
    reply(200, answer)
}

/// Deletes rows and files of mock events, except MS181101ab and those of yesterday, today and tomorrow; galaxy lists
/// stay.
pub(super) fn del_test_alerts(world: &mut World, v0: bool) -> Reply {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut kept: Vec<String> = (-1..=1).map(|days| (today + days.days()).strftime("MS%y%m%d").to_string()).collect();
    kept.push("MS181101ab".to_owned());
    world.alerts.retain(|row| {
        let id = row.get("graceid").and_then(Value::as_str).unwrap_or_default();
        row.get("role") != Some(&json!("test")) || kept.iter().any(|part| id.contains(part))
    });
    let folder = world.files.as_ref().map(|files| files.join("test"));
    for entry in folder.iter().flat_map(std::fs::read_dir).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !kept.iter().any(|part| name.contains(part)) && !name.contains("alert.json") {
            // A writer may be replacing it.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    if v0 {
        reply(200, json!("Success"))
    } else {
        reply(200, json!({"message": "Successfully deleted test alerts and associated data"}))
    }
}
