//! Posts a superevent's galaxy list. Only the newest alert's remains, because the website shows the galaxies of all
//! lists.

use jiff::SignedDuration;
use shared::key::{AlertKind, AlertName, Key, Object};
use shared::message::{Alert, Galaxies, Post, PostEndpoint, PostStatus, Role};
use shared::notice::parse_time;
use shared::{Context, Error, Result};
use treasuremap::{Client, EventGalaxies, ListRemoval};

use crate::alert::{PublishedRow, REMOVED_AT_ONCE};
use crate::once::once;
use crate::view::is_newer;
use crate::{Deps, bytes_of, status, warn_all};

/// The server assigns a list to any row of the superevent whose `timesent` is within this tolerance of the list's
/// stamp.
const SERVER_TOLERANCE: SignedDuration = SignedDuration::from_secs(15);

/// Sets the list's stamp to its row's `timesent`, and posts the list.
pub(crate) async fn publish(
    deps: &Deps,
    alert: &Alert,
    galaxies: &Galaxies,
    published: Option<&PublishedRow>,
) -> Result<Post> {
    let post = |status| Post { request: PostEndpoint::EventGalaxies, key: galaxies.key.clone(), status, note: None };
    let not_posted = |reason: &str| Ok(post(PostStatus::NotPosted { reason: reason.to_owned() }));
    let Some(key) = &galaxies.key else {
        return not_posted(galaxies.reason.as_deref().unwrap_or("there is no galaxy list"));
    };
    let made = read(deps, key).await?;
    let (mut body, warnings) = made.clone().limited();
    warn_all(&alert.name, "event_galaxies", &warnings);
    if body.superevent_id != alert.name.superevent_id {
        return Err(Error::permanent(format!(
            "object `{key}`: expected a list for `{}`, found one for `{}`",
            alert.name.superevent_id, body.superevent_id
        )));
    }
    body.time_sent = match published.and_then(|published| published.row.timesent.as_deref()) {
        Some(time) => parse_time(time).map_err(|error| error.of(format!("row of `{}`", alert.name)))?,
        None => alert.time_created,
    };
    if body != made {
        deps.store.put(key, bytes_of(&body)?).await?;
    }
    let Some(api) = &deps.api else { return not_posted(&deps.not_posted) };
    let Some(published) = published else { return not_posted(REMOVED_AT_ONCE) };
    if alert.role == Role::Test && !deps.galaxies_of_mocks {
        return not_posted("it is a mock alert's, whose lists the GWTM never removes (GALAXY_MOCKS)");
    }
    if body.galaxies.is_empty() {
        return not_posted("the galaxy list is empty");
    }
    let outcome = replace(deps, api, alert, &body, published).await.map_err(|error| error.of(&alert.name))?;
    Ok(post(outcome))
}

/// Posts the list unless it exists or a newer alert has one, then removes the group's others. In this order an
/// interruption leaves at least one list, and the next invocation completes the removal.
async fn replace(
    deps: &Deps,
    api: &Client,
    alert: &Alert,
    body: &EventGalaxies,
    published: &PublishedRow,
) -> Result<PostStatus> {
    if let Some(reason) = newer_list(deps, api, alert, body, published).await? {
        return Ok(PostStatus::NotPosted { reason });
    }
    let look = async || {
        let lists = api.galaxy_lists(&body.superevent_id, &body.groupname, None).await?;
        Ok(lists.iter().find(|(_, list)| body.is_listed_as(list)).map(|(id, _)| Some(*id)))
    };
    let pending = |n| Object::EventGalaxiesPending(&alert.name, n).key();
    let outcome = once(deps, api, pending, look, || api.post_galaxies(body)).await?;
    let mut own = None;
    for (id, list) in api.galaxy_lists(&body.superevent_id, &body.groupname, None).await? {
        // Keep the first of equal lists.
        if own.is_none() && body.is_listed_as(&list) {
            own = Some(id);
        } else if api.remove_galaxies(id).await? == ListRemoval::Foreign {
            tracing::warn!(alert_name = %alert.name, "galaxy list {id} of group `{}` stays: another user's", body.groupname);
        }
    }
    Ok(status(&outcome, |id| id.or(own)))
}

/// Reason for not posting the list of an alert: a newer one has a list or retracted the event.
async fn newer_list(
    deps: &Deps,
    api: &Client,
    alert: &Alert,
    body: &EventGalaxies,
    published: &PublishedRow,
) -> Result<Option<String>> {
    let newer: Vec<_> = published.rows.iter().filter(|row| is_newer(row, &published.row)).collect();
    let retraction = AlertKind::Retraction.as_str();
    if deps.remove_on_retraction && newer.iter().any(|row| row.alert_type == retraction) {
        return Ok(Some("the event has been retracted (GALAXY_REMOVE_ON_RETRACTION)".to_owned()));
    }
    for row in newer {
        let Some(sent) = row.timesent.as_deref().and_then(|time| parse_time(time).ok()) else { continue };
        let lists = api.galaxy_lists(&body.superevent_id, &body.groupname, Some(sent)).await?;
        // The server cannot distinguish rows with equal times, such as an update's and its coincidence's.
        let siblings = if sent.duration_since(body.time_sent).abs() < SERVER_TOLERANCE {
            Some(stored(deps, alert, &row.alert_type).await?)
        } else {
            None
        };
        let has_list = match &siblings {
            Some(siblings) => lists.values().any(|list| siblings.iter().any(|sibling| sibling.is_listed_as(list))),
            None => !lists.is_empty(),
        };
        if has_list {
            let reason = format!("a newer alert has a list: {} of {}", row.alert_type, body.superevent_id);
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Removes the group's lists of a retracted superevent.
pub(crate) async fn remove_all(deps: &Deps, alert: &Alert) -> Result<()> {
    let Some(api) = &deps.api else { return Ok(()) };
    for id in api.galaxy_lists(&alert.name.superevent_id, &deps.groupname, None).await?.into_keys() {
        let removal = api.remove_galaxies(id).await?;
        tracing::info!(alert_name = %alert.name, "galaxy list {id} of group `{}`: {removal:?}", deps.groupname);
    }
    Ok(())
}

/// Reads the stored lists of a superevent's alerts of one type.
async fn stored(deps: &Deps, alert: &Alert, alert_type: &str) -> Result<Vec<EventGalaxies>> {
    let mut lists = Vec::new();
    for key in deps.store.keys(&format!("work/{}-{alert_type}", alert.name.superevent_id)).await? {
        let mut segments = key.as_str().split('/');
        let name = segments.nth(1).and_then(|name| name.parse::<AlertName>().ok());
        let is_list = name.is_some_and(|name| {
            name.alert_type.to_string() == alert_type && Object::EventGalaxies(&name).key().as_ref() == Ok(&key)
        });
        if !is_list {
            continue;
        }
        // Skip invalid lists, but return the store's errors.
        let Some(bytes) = deps.store.get(&key).await? else { continue };
        if let Ok(list) = serde_json::from_slice::<EventGalaxies>(&bytes) {
            lists.push(list.limited().0);
        }
    }
    Ok(lists)
}

async fn read(deps: &Deps, key: &Key) -> Result<EventGalaxies> {
    serde_json::from_slice(&deps.store.read(key).await?)
        .permanent(format_args!("object `{key}`: expected a galaxy list"))
}
