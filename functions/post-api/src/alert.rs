//! Posts an alert's row, exactly once and in the order of `n`.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use shared::Result;
use shared::key::{Object, SupereventId};
use shared::message::{Alert, Post, PostEndpoint, PostStatus, ProductKind, ProductStatus, Products, Role};
use treasuremap::{PostAlert, RequestError, Row};

use crate::once::{Once, once};
use crate::rows::{Placed, find, place};
use crate::{Deps, bytes_of, gracedb, keep, status, warn_all};

/// An alert's row, with all rows of its superevent.
pub(crate) struct PublishedRow {
    /// The alert's row.
    pub row: Row,
    /// All rows of the superevent, including it.
    pub rows: Vec<Row>,
}

/// Stores the alert's body and posts it. Returns the row, unless there is no API or the GWTM would delete it at once.
pub(crate) async fn publish(
    deps: &Deps,
    alert: &Alert,
    products: Option<&Products>,
) -> Result<(Post, Option<PublishedRow>)> {
    let (name, key) = (&alert.name, Object::PostAlert(&alert.name).key()?);
    let url = skymap_url(deps, alert, products).await?;
    let (body, warnings) = PostAlert::new(alert, Some(&deps.observing_run), url.as_deref());
    warn_all(name, "post_alert", &warnings);
    let done = |status| Post { request: PostEndpoint::PostAlert, key: Some(key.clone()), status, note: None };
    let removal = removal(alert);
    let (Some(api), false) = (&deps.api, removal == Removal::AtOnce) else {
        keep(deps, &key, &body).await?;
        let reason = if deps.api.is_none() { deps.not_posted.as_str() } else { REMOVED_AT_ONCE };
        return Ok((done(PostStatus::NotPosted { reason: reason.to_owned() }), None));
    };
    // Keep the body of an earlier post.
    deps.store.put_if_absent(&key, bytes_of(&body)?).await?;
    let seen = Mutex::new((Vec::new(), Vec::new()));
    let look = async || {
        let rows = api.query_alerts(&name.superevent_id).await?;
        let of_type: Vec<Row> = rows.iter().filter(|row| row.alert_type == body.alert_type).cloned().collect();
        let Placed { row, copies } = if deps.store.writes() && removal == Removal::Never {
            place(deps, name, &body, &of_type).await?
        } else {
            let row = find(deps, name, &body, &of_type).await?;
            if row.is_none() && of_type.len() < name.n as usize && removal == Removal::Maybe {
                tracing::warn!(alert_name = %name, "posted as row {}: older test alerts were removed", of_type.len());
            }
            Placed { row, copies: Vec::new() }
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = (rows, copies);
        Ok(row)
    };
    let post = async || {
        keep(deps, &key, &body).await.map_err(RequestError::Refused)?;
        api.post_alert(&body).await
    };
    let outcome = once(deps, api, |n| Object::PostAlertPending(name, n).key(), look, post).await;
    let outcome = outcome.map_err(|error| error.of(name))?;
    let mut post = done(status(&outcome, |row| Some(row.id)));
    let (mut rows, copies) = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !copies.is_empty() {
        let ids = copies.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let note = format!("row {ids} repeats an earlier row of type `{}`: remove it from the GWTM", body.alert_type);
        if matches!(outcome, Once::Posted(_)) {
            tracing::warn!(alert_name = %name, "{note}");
        }
        post.note = Some(note);
    }
    let (Once::Posted(row) | Once::AlreadyThere(row)) = outcome;
    if rows.iter().all(|other| other.id != row.id) {
        rows.push(row.clone());
    }
    Ok((post, Some(PublishedRow { row, rows })))
}

/// Reason for not posting a mock alert.
pub(crate) const REMOVED_AT_ONCE: &str = "the GWTM removes test alerts that are older than yesterday";

/// Whether the GWTM deletes an alert's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Never.
    Never,
    /// It may already be deleted: the server's date may differ from ours.
    Maybe,
    /// With the next deletion of test alerts.
    AtOnce,
}

/// Whether the GWTM deletes an alert's row.
pub(crate) fn removal(alert: &Alert) -> Removal {
    match alert.role {
        Role::Observation => Removal::Never,
        Role::Test => removal_of(&alert.name.superevent_id, Timestamp::now().to_zoned(TimeZone::UTC).date()),
    }
}

/// `del_test_alerts` deletes rows of test events, except MS181101ab and mock events whose ids have the date of
/// yesterday, today or tomorrow.
fn removal_of(id: &SupereventId, today: Date) -> Removal {
    if id.as_str().contains("MS181101ab") {
        return Removal::Never;
    }
    // `SupereventId` guarantees six digits here.
    let date = id.as_str().strip_prefix("MS").and_then(|rest| Date::strptime("%y%m%d", rest.get(..6)?).ok());
    match date.map(|date| date.duration_since(today).as_hours().abs()) {
        Some(0) => Removal::Never,
        Some(24) => Removal::Maybe,
        _ => Removal::AtOnce,
    }
}

/// The row's map URL: GraceDB's file of the alert's map, else the storage key of our flat map; none without either.
///
/// Keeps the URL of an earlier attempt, so that the posted and the stored body agree. An external coincidence's
/// combined map has no known file name at GraceDB. gwtm_cron uses the first existing file of cWB, bilby and bayestar,
/// whichever map it contains.
async fn skymap_url(deps: &Deps, alert: &Alert, products: Option<&Products>) -> Result<Option<String>> {
    if alert.skymap.is_none() {
        return Ok(None);
    }
    if let Some(stored) = deps.store.get(&Object::PostAlert(&alert.name).key()?).await?
        && let Ok(stored) = serde_json::from_slice::<PostAlert>(&stored)
        && let Some(url) = &stored.skymap_fits_url
        && PostAlert::new(alert, Some(&deps.observing_run), Some(url)).0 == stored
    {
        return Ok(stored.skymap_fits_url);
    }
    if !alert.name.alert_type.external
        && let (Some(_), Some(fetch)) = (&deps.api, &deps.fetch)
        && let Some(url) = Box::pin(gracedb::map_url(fetch, &deps.gracedb_url, alert)).await
    {
        return Ok(Some(url));
    }
    let flat = products.and_then(|made| made.products.iter().find(|product| product.product == ProductKind::FlatMap));
    match flat.map(|flat| &flat.status) {
        // Without writes the flat map is no object to post. A dry run shows the key that it would post.
        _ if deps.api.is_some() && !deps.store.writes() => Ok(None),
        Some(ProductStatus::Written { key, .. } | ProductStatus::AlreadyThere { key }) => Ok(Some(key.to_string())),
        Some(ProductStatus::Missing { .. } | ProductStatus::Failed { .. }) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicts_which_test_alerts_the_server_deletes() {
        let today: Date = "2026-11-23".parse().expect("a date");
        for (id, expected) in [
            ("MS181101ab", Removal::Never),
            ("MS261123xyz", Removal::Never),
            ("MS261122a", Removal::Maybe),
            ("MS261124b", Removal::Maybe),
            ("MS181101ac", Removal::AtOnce),
            ("MS261121a", Removal::AtOnce),
            ("MS261125a", Removal::AtOnce),
            ("TS261123a", Removal::AtOnce),
        ] {
            assert_eq!(removal_of(&id.parse().expect("an id"), today), expected, "{id}");
        }
    }
}
