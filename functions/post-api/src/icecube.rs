//! An IceCube search, posted when it found something.

use std::sync::atomic::{AtomicBool, Ordering};

use shared::Result;
use shared::key::Object;
use shared::message::{Post, PostStatus, Request};
use shared::notice::icecube::TrackSearch;
use treasuremap::{Failure, Generation, PostIceCube};

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
    let status = match &deps.api {
        _ if search.events.is_empty() => {
            PostStatus::NotPosted { reason: "the search found no coincident events".to_owned() }
        }
        None => PostStatus::NotPosted { reason: deps.not_posted.clone() },
        Some(api) => {
            let nothing_to_look_at = async || Ok(None);
            // Whether an attempt failed that may have been stored: then the search that the GWTM has is ours.
            let unsure = AtomicBool::new(false);
            let post = async || {
                let answer = api.post_icecube_notice(&body).await;
                if matches!(answer, Err(Failure::Unknown(_) | Failure::Over(_))) {
                    unsure.store(true, Ordering::Relaxed);
                }
                answer
            };
            let outcome = api.once(nothing_to_look_at, post).await;
            match crate::status(&outcome.map_err(|error| error.of(&search.ref_id))?, |id| *id) {
                PostStatus::Posted { id: None } if another || !unsure.into_inner() => {
                    PostStatus::AlreadyThere { id: None }
                }
                status => status,
            }
        }
    };
    if matches!(status, PostStatus::Posted { .. }) {
        keep(deps, &key, &json).await?;
    }
    Ok(Post { request: Request::PostIceCube, key: Some(key), status })
}
