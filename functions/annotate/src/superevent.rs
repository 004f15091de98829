//! Writes the annotations of a superevent's alerts so that they agree: links, track searches, and the pointer to the newest.

use std::collections::{BTreeMap, BTreeSet};

use shared::key::{AlertName, Object, SupereventId, prefix_of};
use shared::message::Generated;
use shared::{Error, Result};

use crate::annotations::Annotations;
use crate::{Deps, json, publish, searches, versions, write_if_changed};

/// Limit on the rounds of [`link_all`].
const MAX_ROUNDS: usize = 50;

/// The result of [`link_all`].
pub(crate) struct Linked {
    /// The own alert's annotations, if there is one.
    pub(crate) own: Option<Annotations>,
    /// The other alerts whose annotations changed.
    pub(crate) changed: Vec<AlertName>,
    /// What was written, or found unchanged.
    pub(crate) objects: Vec<Generated>,
}

/// Writes the annotations of an alert (`own`), updates those of the superevent's other alerts, and the pointer to the newest.
/// Without `own`, updates the alerts in the store: a track search has arrived.
///
/// Several processes may annotate alerts and searches of a superevent concurrently, and no store writes several objects
/// atomically. So every writer writes its own annotations, reads all, writes the links that follow from all, and repeats
/// until a round writes nothing. A writer that overwrote newer links sees them in the next round, so the last writer leaves
/// all links consistent.
///
/// A search and an alert that are processed concurrently both end up in the annotations. A listener and the bridge process
/// one notice of a superevent at a time, but the two topics may have a process each. That is enough, because `ingest-icecube`
/// has stored the search before this is called: either the alert's last round, which lists the store after its last write,
/// finds the search, or the search was stored after that write, and its first round finds the alert.
///
/// # Errors
/// The store's; Retryable, when other writers did not finish within [`MAX_ROUNDS`].
pub(crate) async fn link_all(deps: &Deps, id: &SupereventId, own: Option<Annotations>) -> Result<Linked> {
    let name = own.as_ref().map(|own| own.name.clone());
    let is_own = |other: &AlertName| name.as_ref() == Some(other);
    let mut own = own;
    let mut regions = BTreeMap::new();
    let (mut changed, mut objects): (BTreeSet<AlertName>, Vec<Generated>) = Default::default();
    for round in 0..MAX_ROUNDS {
        // One listing for both, after the writes of the round before.
        let keys = deps.store.keys(&prefix_of(id)).await?;
        let (mut alerts, unread) = versions::stored(&deps.store, &keys, name.as_ref()).await?;
        let before: BTreeMap<AlertName, Annotations> =
            alerts.iter().map(|alert| (alert.name.clone(), alert.clone())).collect();
        // This process has the current version of its own alert.
        if let Some(mut own) = own.take() {
            own.unread = unread;
            alerts.retain(|alert| alert.name != own.name);
            alerts.push(own);
        }
        if alerts.is_empty() {
            return Ok(Linked { own, changed: Vec::new(), objects });
        }
        if alerts.iter().any(|alert| !regions.contains_key(&alert.name)) {
            regions = versions::regions(&deps.store, &alerts).await?;
        }
        versions::link(&mut alerts, &regions);
        let searches = searches::stored(&deps.store, id, &keys).await?;
        alerts.iter_mut().for_each(|alert| alert.icecube.clone_from(&searches));
        let linked = alerts.clone();
        // Write the own alert first, so that other writers see it.
        let (mut first, rest): (Vec<_>, Vec<_>) = alerts.iter_mut().partition(|alert| is_own(&alert.name));
        first.extend(rest);
        let mut wrote = false;
        for annotations in first {
            let is_own = is_own(&annotations.name);
            // In the first round, the own page is written even if the links are unchanged.
            if before.get(&annotations.name) == Some(&*annotations) && (round > 0 || !is_own) {
                continue;
            }
            // Do not overwrite a concurrent change; the next round reads it.
            if !is_own {
                let key = Object::Annotations(&annotations.name).key()?;
                let now = deps.store.get(&key).await?.and_then(|bytes| versions::read(&key, &bytes).ok());
                if now.as_ref() != before.get(&annotations.name) {
                    wrote = true;
                    continue;
                }
            }
            let (made, written) = publish(deps, annotations, &linked).await?;
            wrote |= written;
            made.into_iter().for_each(|made| record(&mut objects, made));
            if !is_own {
                changed.insert(annotations.name.clone());
            }
        }
        if let Some(latest) = versions::latest(&alerts)? {
            let (made, written) =
                write_if_changed(deps, Object::Latest(&latest.superevent_id).key()?, json(&latest)?).await?;
            wrote |= written;
            record(&mut objects, made);
        }
        own = alerts.into_iter().find(|annotations| is_own(&annotations.name));
        if !wrote {
            return Ok(Linked { own, changed: changed.into_iter().collect(), objects });
        }
    }
    Err(Error::retryable(format!(
        "superevent `{id}`: alerts not linked within {MAX_ROUNDS} rounds, because other processes keep writing"
    )))
}

/// Records an object, replacing an earlier record of the same key.
fn record(objects: &mut Vec<Generated>, made: Generated) {
    match objects.iter_mut().find(|before| before.key == made.key) {
        Some(before) => *before = made,
        None => objects.push(made),
    }
}
