//! Posts an IceCube search with coincident events.

use shared::Result;
use shared::key::Object;
use shared::message::{Post, PostEndpoint, PostStatus};
use shared::notice::icecube::{TrackSearch, Withheld};
use treasuremap::{Generation, PostIceCube};

use crate::once::{Once, once};
use crate::{Deps, bytes_of, keep, warn_all};

/// Writes the search's body, which is how a search without coincident events is recorded, and posts it when it has any.
///
/// The GWTM stores one search per `ref_id`. It has no query for it, but the POST reports an existing one. So a body
/// that may have been posted is replaced only after the GWTM has stored the new one.
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
            // The POST itself reports an earlier one.
            let look = async || Ok(None);
            let post = async || api.post_icecube_notice(&body).await;
            let pending = |n| Object::PostIceCubePending(&search.ref_id, n).key();
            let (Once::Posted(id) | Once::AlreadyThere(id)) =
                once(deps, api, pending, look, post).await.map_err(|error| error.of(&search.ref_id))?;
            match id {
                None => PostStatus::AlreadyThere { id: None },
                id => PostStatus::Posted { id },
            }
        }
    };
    if matches!(status, PostStatus::Posted { .. }) {
        keep(deps, &key, &json).await?;
    }
    Ok(Post { request: PostEndpoint::PostIceCube, key: Some(key), status, note: None })
}
