//! One alert's row, posted in the order of `n` and only once.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use shared::key::{AlertName, Object, SupereventId};
use shared::message::{Alert, Post, PostStatus, ProductKind, ProductStatus, Products, Request, Role};
use shared::notice::parse_time;
use shared::{Error, Result};
use treasuremap::{Client, Failure, Once, PostAlert, Row};

use crate::{Deps, bytes_of, keep, status, warn_all};

/// How long GraceDB may take to say whether it has a file; the alert waits for it.
const GRACEDB_TIMEOUT: Duration = Duration::from_secs(2);
/// How far the times of a row may be from ours and still be ours [s]: the server keeps microseconds, older ones seconds.
const TOLERANCE_SECONDS: f64 = 1.0;

/// Writes the alert's body and posts it; the row, when there is an API.
pub(crate) async fn publish(deps: &Deps, alert: &Alert, products: Option<&Products>) -> Result<(Post, Option<Row>)> {
    let key = Object::PostAlert(&alert.name).key()?;
    let url = skymap_url(deps, alert, products).await?;
    let (body, warnings) = PostAlert::new(alert, deps.observing_run.as_deref(), url.as_deref());
    warn_all(&alert.name, "post_alert", &warnings);
    let done = |status| Post { request: Request::PostAlert, key: Some(key.clone()), status };
    let Some(api) = &deps.api else {
        keep(deps, &key, &body).await?;
        return Ok((done(PostStatus::NotPosted { reason: deps.not_posted.clone() }), None));
    };
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let place = if !deps.store.writes() {
        Place::Unclaimed
    } else if alert.role == Role::Test && may_be_removed(&alert.name.superevent_id, today) {
        Place::Removable
    } else {
        Place::Claimed
    };
    // A body that was posted stays; before a post it is this one.
    deps.store.put_if_absent(&key, bytes_of(&body)?).await?;
    let post = async || {
        keep(deps, &key, &body).await.map_err(Failure::Refused)?;
        api.post_alert(&body).await
    };
    let outcome = api.once(|| look(api, &alert.name, &body, place), post).await;
    let outcome = outcome.map_err(|error| error.of(&alert.name))?;
    let post = done(status(&outcome, |row| Some(row.id)));
    let (Once::Posted(row) | Once::AlreadyThere(row)) = outcome;
    Ok((post, Some(row)))
}

/// What an alert's `n` says of its place among the server's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is row n.
    Claimed,
    /// It was row n, but the GWTM removes old test alerts.
    Removable,
    /// Nothing: nothing is stored, so no other process knows of the claim.
    Unclaimed,
}

async fn look(api: &Client, name: &AlertName, body: &PostAlert, place: Place) -> Result<Option<Row>> {
    let rows = api.query_alerts(body).await?;
    own_row(name, body, rows, place)
}

/// The alert's row among those of its superevent and type, in the order in which they came; `None` when it is this
/// alert's turn. The server counts these rows to name the products, so alert n must be row n (from 0).
///
/// Where earlier rows may have been removed or n was never claimed, the row is known by its times alone, and an alert
/// without one is the next.
///
/// # Errors
/// Permanent, when row n is another alert; Retryable, when an earlier row is missing.
fn own_row(name: &AlertName, body: &PostAlert, rows: Vec<Row>, place: Place) -> Result<Option<Row>> {
    let (count, n) = (rows.len(), name.n as usize);
    if place != Place::Claimed {
        let own = rows.into_iter().find(|row| disagreement(body, row).is_none());
        if own.is_none() && count < n && place == Place::Removable {
            tracing::warn!(alert.name = %name, "posted as row {count}: the GWTM has removed older test alerts");
        }
        return Ok(own);
    }
    if count < n {
        return Err(Error::retryable(format!(
            "waiting for row {} of type `{}` of `{}`, found {count} rows",
            n - 1,
            name.alert_type,
            name.superevent_id
        )));
    }
    let Some(row) = rows.into_iter().nth(n) else { return Ok(None) };
    match disagreement(body, &row) {
        None => Ok(Some(row)),
        Some(how) => Err(Error::permanent(format!(
            "row {n} of type `{}` of `{}` (id {}) is another alert: {how}",
            name.alert_type, name.superevent_id, row.id
        ))),
    }
}

/// How a row's times differ from a body's.
fn disagreement(body: &PostAlert, row: &Row) -> Option<String> {
    let pairs = [
        ("timesent", body.timesent.as_deref(), row.timesent.as_deref()),
        ("time_of_signal", body.time_of_signal.as_deref(), row.time_of_signal.as_deref()),
    ];
    pairs.into_iter().find_map(|(field, ours, theirs)| {
        let same = match (ours.map(parse_time), theirs.map(parse_time)) {
            (None, None) => true,
            (Some(Ok(ours)), Some(Ok(theirs))) => ours.duration_since(theirs).as_secs_f64().abs() <= TOLERANCE_SECONDS,
            _ => false,
        };
        let shown = |time: Option<&str>| time.map_or_else(|| "none".to_owned(), |time| format!("`{time}`"));
        (!same).then(|| format!("expected {field} {}, found {}", shown(ours), shown(theirs)))
    })
}

/// Whether `del_test_alerts` removes the rows of a test event: all but those of MS181101ab and of the mock events of
/// yesterday, today and tomorrow, by the date in their ids. The server's day may be another than ours.
fn may_be_removed(id: &SupereventId, today: Date) -> bool {
    let Some(rest) = id.as_str().strip_prefix("MS") else { return true };
    if id.as_str().contains("MS181101ab") {
        return false;
    }
    // `SupereventId` holds six digits here.
    match Date::strptime("%y%m%d", rest.get(..6).unwrap_or_default()) {
        Ok(date) => date.duration_since(today).as_hours().abs() > 24,
        Err(_) => true,
    }
}

/// What the row says of the map: the GraceDB file that matches the map in hand when it is there, else our own flat map,
/// whose name the server reads as a storage key; nothing when neither is there, or when there is no map.
///
/// An earlier attempt's answer stays, so that what was posted and what is stored agree. An external coincidence's
/// combined map has no file of a known name at GraceDB. gwtm_cron takes the first of cWB, bilby and bayestar that is
/// there, whatever map it holds.
async fn skymap_url(deps: &Deps, alert: &Alert, products: Option<&Products>) -> Result<Option<String>> {
    if alert.skymap.is_none() {
        return Ok(None);
    }
    if let Some(stored) = deps.store.get(&Object::PostAlert(&alert.name).key()?).await?
        && let Ok(stored) = serde_json::from_slice::<PostAlert>(&stored)
        && let Some(url) = &stored.skymap_fits_url
        && PostAlert::new(alert, deps.observing_run.as_deref(), Some(url)).0 == stored
    {
        return Ok(stored.skymap_fits_url);
    }
    if !alert.name.alert_type.external
        && let (Some(_), Some(fetch)) = (&deps.api, &deps.fetch)
    {
        let creator = alert.summary.as_ref().and_then(|summary| summary.creator.as_deref()).unwrap_or_default();
        let file = match creator.to_ascii_lowercase().as_str() {
            "bayestar" => "bayestar.fits.gz",
            "cwb" => "cWB.fits.gz",
            _ => "bilby.fits.gz",
        };
        let url = format!("{}/api/superevents/{}/files/{file}", deps.gracedb_url, alert.name.superevent_id);
        if fetch.exists(&url, GRACEDB_TIMEOUT).await {
            return Ok(Some(url));
        }
    }
    let flat = products.and_then(|made| made.products.iter().find(|product| product.product == ProductKind::FlatMap));
    match flat.map(|flat| &flat.status) {
        // A product that was made without storing it is no object; in a dry run it says what would be posted.
        _ if deps.api.is_some() && !deps.store.writes() => Ok(None),
        Some(ProductStatus::Written { key, .. } | ProductStatus::AlreadyThere { key }) => Ok(Some(key.to_string())),
        Some(ProductStatus::Missing { .. } | ProductStatus::Failed { .. }) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, timesent: &str) -> Row {
        let row =
            serde_json::json!({ "id": id, "graceid": "S230518h", "alert_type": "Preliminary", "timesent": timesent });
        serde_json::from_value(row).expect("a row")
    }

    fn body(timesent: &str) -> PostAlert {
        let alert = Alert {
            name: "S230518h-Preliminary".parse().expect("a name"),
            role: Role::Observation,
            time_created: parse_time(timesent).expect("a time"),
            time_of_signal: None,
            event: None,
            external: None,
            skymap: None,
            summary: None,
        };
        PostAlert::new(&alert, None, None).0
    }

    #[test]
    fn alert_n_is_row_n() {
        let name = |n: u32| {
            let mut name: AlertName = "S230518h-Preliminary".parse().expect("a name");
            name.n = n;
            name
        };
        let rows = || vec![row(4, "2023-05-18T12:59:30"), row(9, "2023-05-18T13:10:00.25")];
        let first = body("2023-05-18T12:59:30Z");
        let second = body("2023-05-18T13:10:00Z");
        let id = |found: Result<Option<Row>>| found.map(|row| row.map(|row| row.id));
        assert_eq!(id(own_row(&name(0), &first, rows(), Place::Claimed)), Ok(Some(4)));
        assert_eq!(id(own_row(&name(1), &second, rows(), Place::Claimed)), Ok(Some(9)));
        assert_eq!(id(own_row(&name(2), &second, rows(), Place::Claimed)), Ok(None));
        assert_eq!(id(own_row(&name(0), &first, Vec::new(), Place::Claimed)), Ok(None));
        let early = own_row(&name(3), &second, rows(), Place::Claimed).expect_err("too early");
        assert!(early.is_retryable() && early.to_string().contains("waiting for row 2"), "{early}");
        let other = own_row(&name(1), &first, rows(), Place::Claimed).expect_err("another alert");
        assert!(!other.is_retryable() && other.to_string().contains("timesent"), "{other}");
        // Removed rows: known by its times, posted whatever the count.
        assert_eq!(id(own_row(&name(5), &second, rows(), Place::Removable)), Ok(Some(9)));
        assert_eq!(id(own_row(&name(5), &body("2023-05-18T14:00:00Z"), rows(), Place::Removable)), Ok(None));
        // Never claimed: another alert's row is in the place that n names.
        assert_eq!(id(own_row(&name(0), &second, rows(), Place::Unclaimed)), Ok(Some(9)));
        assert_eq!(id(own_row(&name(0), &body("2023-05-18T14:00:00Z"), rows(), Place::Unclaimed)), Ok(None));
    }

    #[test]
    fn test_alerts_that_the_server_removes() {
        let today: Date = "2026-11-23".parse().expect("a date");
        let removed = |id: &str| may_be_removed(&id.parse().expect("an id"), today);
        for kept in ["MS181101ab", "MS261122a", "MS261123xyz", "MS261124b"] {
            assert!(!removed(kept), "{kept}");
        }
        for gone in ["MS181101ac", "MS261121a", "MS261125a", "TS261123a"] {
            assert!(removed(gone), "{gone}");
        }
    }
}
