//! One alert's galaxy list: it replaces the lists that the same group posted for this alert before.

use jiff::SignedDuration;
use shared::key::{Key, Object};
use shared::message::{Alert, Galaxies, Post, PostStatus, Request};
use shared::notice::parse_time;
use shared::{Error, Result};
use treasuremap::{Client, EventGalaxies, ListedGalaxy, Removal, Row};

use crate::{Deps, bytes_of, status, warn_all};

/// How far two scores may be apart and still be the same score: they travel as decimal text.
const SCORE_TOLERANCE: f64 = 1e-9;
/// The server hangs a list on any row of the superevent sent within this time of the list's stamp.
const SERVER_TOLERANCE: SignedDuration = SignedDuration::from_secs(15);

/// Brings the list's stamp in line with the alert's row, and posts the list.
pub(crate) async fn publish(deps: &Deps, alert: &Alert, galaxies: &Galaxies, row: Option<&Row>) -> Result<Post> {
    let post = |status| Post { request: Request::EventGalaxies, key: galaxies.key.clone(), status };
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
    body.time_sent = match row.and_then(|row| row.timesent.as_deref()) {
        Some(time) => parse_time(time).map_err(|error| error.of(format!("row of `{}`", alert.name)))?,
        None => alert.time_created,
    };
    if body != made {
        deps.store.put(key, bytes_of(&body)?).await?;
    }
    let Some(api) = &deps.api else { return not_posted(&deps.not_posted) };
    if body.galaxies.is_empty() {
        return not_posted("the galaxy list is empty");
    }
    let outcome = replace(deps, api, alert, key, &body).await.map_err(|error| error.of(&alert.name))?;
    Ok(post(outcome))
}

/// Posts the list unless it is there, after removing what the group had posted for this alert.
async fn replace(deps: &Deps, api: &Client, alert: &Alert, key: &Key, body: &EventGalaxies) -> Result<PostStatus> {
    let lists = api.galaxy_lists(body).await?;
    let there = lists.iter().find(|(_, list)| is_same(list, body)).map(|(id, _)| *id);
    let neighbours = neighbours(deps, alert, key, body).await?;
    for (id, list) in &lists {
        if Some(*id) == there || neighbours.iter().any(|other| is_same(list, other)) {
            continue;
        }
        if api.remove_galaxies(*id).await? == Removal::Foreign {
            tracing::warn!(alert.name = %alert.name, "galaxy list {id} of group `{}` stays: another user's", body.groupname);
        }
    }
    let look = async || {
        let lists = api.galaxy_lists(body).await?;
        Ok(lists.iter().find(|(_, list)| is_same(list, body)).map(|(id, _)| Some(*id)))
    };
    let outcome = api.once(look, || api.post_galaxies(body)).await?;
    Ok(status(&outcome, |id| *id))
}

/// Removes what the group posted for a superevent that is retracted.
pub(crate) async fn remove_all(deps: &Deps, alert: &Alert) -> Result<()> {
    let Some(api) = &deps.api else { return Ok(()) };
    for (_, body) in stored(deps, alert).await? {
        for id in api.galaxy_lists(&body).await?.into_keys() {
            let removal = api.remove_galaxies(id).await?;
            tracing::info!(alert.name = %alert.name, "galaxy list {id} of group `{}`: {removal:?}", body.groupname);
        }
    }
    Ok(())
}

/// The lists of this superevent's other alerts whose rows the server cannot tell from this one's: an update and its
/// external coincidence are sent at the same moment.
async fn neighbours(deps: &Deps, alert: &Alert, own: &Key, body: &EventGalaxies) -> Result<Vec<EventGalaxies>> {
    let mut lists = Vec::new();
    for (key, other) in stored(deps, alert).await? {
        let (other, _) = other.limited();
        if key != *own && other.time_sent.duration_since(body.time_sent).abs() < SERVER_TOLERANCE {
            lists.push(other);
        }
    }
    Ok(lists)
}

/// The lists in the store of all alerts of this alert's superevent.
async fn stored(deps: &Deps, alert: &Alert) -> Result<Vec<(Key, EventGalaxies)>> {
    let mut lists = Vec::new();
    for key in deps.store.keys(&format!("work/{}-", alert.name.superevent_id)).await? {
        let mut segments = key.as_str().split('/');
        let name = segments.nth(1).and_then(|name| name.parse().ok());
        let is_list = name.is_some_and(|name| Object::EventGalaxies(&name).key().as_ref() == Ok(&key));
        if !is_list {
            continue;
        }
        // What is no list protects nothing and names nothing; what the store cannot give now may.
        let Some(bytes) = deps.store.get(&key).await? else { continue };
        if let Ok(list) = serde_json::from_slice(&bytes) {
            lists.push((key, list));
        }
    }
    Ok(lists)
}

async fn read(deps: &Deps, key: &Key) -> Result<EventGalaxies> {
    serde_json::from_slice(&deps.store.read(key).await?)
        .map_err(|error| Error::permanent(format!("object `{key}`: expected a galaxy list: {error}")))
}

/// Whether a stored list is this one: the same names, rank by rank, with the same scores.
fn is_same(stored: &[ListedGalaxy], body: &EventGalaxies) -> bool {
    let mut own: Vec<_> = body.galaxies.iter().collect();
    own.sort_by_key(|galaxy| galaxy.rank);
    stored.len() == own.len()
        && stored.iter().zip(own).all(|(stored, own)| {
            stored.rank == i64::from(own.rank)
                && stored.name == own.name
                && (stored.score - own.score).abs() <= SCORE_TOLERANCE
        })
}
