//! An IceCube search, posted when it found something.

use shared::Result;
use shared::key::Object;
use shared::message::{Post, PostStatus, Request};
use shared::notice::icecube::TrackSearch;
use shared::treasuremap::{Generation, PostIceCube};

use crate::{Deps, keep, warn_all};

/// Writes the search's body, which is how a search without coincident events is recorded, and posts it when it has any.
/// The GWTM keeps one search per `ref_id` and has no way to ask for it, but says so when it has it, which is as good as
/// looking.
pub(crate) async fn publish(deps: &Deps, search: &TrackSearch) -> Result<Post> {
    let key = Object::PostIceCube(&search.ref_id).key()?;
    let (body, warnings) = PostIceCube::new(search);
    warn_all(&search.ref_id, "post_icecube_notice", &warnings);
    let generation = deps.api.as_ref().map_or(Generation::V1, |api| api.generation());
    // A later search that found nothing does not replace the body that was posted.
    if !search.events.is_empty() || deps.store.head(&key).await?.is_none() {
        keep(deps, &key, &body.to_json(generation)).await?;
    }
    let status = match &deps.api {
        _ if search.events.is_empty() => {
            PostStatus::NotPosted { reason: "the search found no coincident events".to_owned() }
        }
        None => PostStatus::NotPosted { reason: deps.not_posted.clone() },
        Some(api) => {
            let nothing_to_look_at = async || Ok(None);
            let outcome = api.once(nothing_to_look_at, || api.post_icecube_notice(&body)).await;
            match crate::status(&outcome.map_err(|error| error.of(&search.ref_id))?, |id| *id) {
                PostStatus::Posted { id: None } => PostStatus::AlreadyThere { id: None },
                status => status,
            }
        }
    };
    Ok(Post { request: Request::PostIceCube, key: Some(key), status })
}
