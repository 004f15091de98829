//! An IceCube search, posted when it found something.

use shared::Result;
use shared::key::Object;
use shared::message::{Post, PostEndpoint, PostStatus};
use shared::notice::icecube::{TrackSearch, Withheld};
use treasuremap::{Client, Generation, PostIceCube, RequestError};

use crate::{Deps, bytes_of, keep, warn_all};

/// Writes the search's body, which is how a search without coincident events is recorded, and posts it when it has any.
///
/// The GWTM keeps one search per `ref_id` and has no way to ask for it, but says so when it has it, which is as good as
/// looking. So a body that may have been posted is replaced only when the GWTM has stored the new one.
pub(crate) async fn publish(deps: &Deps, search: &TrackSearch) -> Result<Post> {
    let key = Object::PostIceCube(&search.ref_id).key()?;
    let (body, warnings) = PostIceCube::new(search);
    warn_all(&search.ref_id, "post_icecube_notice", &warnings);
    let generation = deps.api.as_ref().map_or(Generation::V1, |api| api.generation());
    let json = body.to_json(generation);
    let another = match deps.store.get(&key).await? {
        Some(stored) => {
            stored != bytes_of(&json)?
                && serde_json::from_slice(&stored).is_ok_and(|stored| PostIceCube::has_events(&stored))
        }
        None => false,
    };
    if !another {
        keep(deps, &key, &json).await?;
    }
    let withheld = search.withheld().map(Withheld::reason);
    if let Some(reason) = withheld {
        tracing::warn!(ref_id = search.ref_id, superevent_id = %search.superevent_id, "not posted: {reason}");
    }
    let status = match (&deps.api, withheld) {
        (_, Some(reason)) => PostStatus::NotPosted { reason: reason.to_owned() },
        _ if search.events.is_empty() => {
            PostStatus::NotPosted { reason: "the search found no coincident events".to_owned() }
        }
        (None, None) => PostStatus::NotPosted { reason: deps.not_posted.clone() },
        (Some(api), None) => {
            let (id, unsure) = post(api, &body).await.map_err(|error| error.of(&search.ref_id))?;
            match id {
                None if another || !unsure => PostStatus::AlreadyThere { id: None },
                id => PostStatus::Posted { id },
            }
        }
    };
    if matches!(status, PostStatus::Posted { .. }) {
        keep(deps, &key, &json).await?;
    }
    Ok(Post { request: PostEndpoint::PostIceCube, key: Some(key), status, note: None })
}

/// Posts a search, again after a failure, since the GWTM looks itself: its number, or none when the GWTM had it; and
/// whether an attempt failed that may have been stored, for then the search that the GWTM has is ours.
async fn post(api: &Client, body: &PostIceCube) -> Result<(Option<i64>, bool)> {
    let mut unsure = false;
    let mut attempt = 1;
    api.begin_post(attempt)?;
    loop {
        let (pauses, error) = match api.post_icecube_notice(body).await {
            Ok(id) => return Ok((id, unsure)),
            Err(RequestError::Refused(error)) => return Err(error),
            Err(RequestError::Over(error)) => (1, error),
            // The GWTM's own look is not atomic: what it may still be at should be over.
            Err(RequestError::Unknown(error)) => (api.timing().looks, error),
        };
        unsure = true;
        for i in 0..pauses {
            api.pause(attempt + i).await;
        }
        attempt += 1;
        if attempt > api.timing().attempts || api.begin_post(attempt).is_err() {
            return Err(error);
        }
        tracing::info!("posting again: {error}");
    }
}
