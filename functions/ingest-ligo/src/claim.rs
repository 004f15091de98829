//! Claims an alert's name by creating `{name}_alert.json` for the suffix n.

use bytes::Bytes;
use science::skymap::MultiOrderMap;
use serde_json::Value;
use shared::key::{AlertName, AlertType, Object, SupereventId};
use shared::notice::igwn::Notice;
use shared::notice::{content, same_content, same_value};
use shared::{Error, Result};
use store::Store;

/// Limit on the alerts of one type per superevent; real ones have fewer than 20.
const MAX_ALERTS: u32 = 1_000;

/// Claims the first free name, or returns the name that this notice claimed before.
///
/// An object with the same content is this alert again; a different one means the next n. Contents are compared rather
/// than bytes, because GraceDB's copy of a notice differs from Kafka's in white space and field order.
///
/// A notice whose sky map cannot be read is the same alert as one that differs from it in the map alone: the mended notice
/// takes its place, so that the products of an alert that went out without a map can be made.
///
/// # Errors
/// The store's; Permanent after [`MAX_ALERTS`] names.
pub(crate) async fn claim(
    store: &Store,
    superevent_id: &SupereventId,
    alert_type: AlertType,
    notice: &Bytes,
) -> Result<AlertName> {
    for n in 0..MAX_ALERTS {
        let name = AlertName { superevent_id: superevent_id.clone(), alert_type, n };
        let key = Object::Notice(&name).key()?;
        if store.put_if_absent(&key, notice.clone()).await? {
            return Ok(name);
        }
        let archived = store.read(&key).await?;
        if same_content(&archived, notice) {
            return Ok(name);
        }
        let (other, own) = (archived.clone(), notice.clone());
        let compare =
            move || Ok(same_but_for_maps(&other, &own).then(|| [other, own].map(|bytes| has_sound_maps(&bytes))));
        match runtime::blocking("sky map", compare).await? {
            Some([false, true]) => {
                tracing::warn!(alert_name = %name, "the archived notice, whose sky map cannot be read, is replaced");
                store.put(&key, notice.clone()).await?;
                return Ok(name);
            }
            Some([true, false] | [false, false]) => return Ok(name),
            Some([true, true]) | None => {}
        }
    }
    Err(Error::permanent(format!(
        "superevent `{superevent_id}`: expected fewer than {MAX_ALERTS} alerts of type `{alert_type}`"
    )))
}

/// Whether two notices say the same, and both carry the same kinds of map.
fn same_but_for_maps(a: &[u8], b: &[u8]) -> bool {
    let without_maps = |bytes: &[u8]| {
        let mut content = content(bytes)?;
        for pointer in ["/event/skymap", "/external_coinc/combined_skymap"] {
            if let Some(map) = content.pointer_mut(pointer).filter(|map| !map.is_null()) {
                *map = Value::Bool(true);
            }
        }
        Some(content)
    };
    without_maps(a).zip(without_maps(b)).is_some_and(|(a, b)| same_value(&a, &b))
}

/// Whether every map that a notice carries can be read.
fn has_sound_maps(bytes: &[u8]) -> bool {
    Notice::parse(bytes).is_ok_and(|notice| {
        let errors = [&notice.skymap_error, &notice.combined_skymap_error];
        let mut maps = [&notice.skymap, &notice.combined_skymap].into_iter().flatten();
        errors.iter().all(|error| error.is_none()) && maps.all(|map| MultiOrderMap::decode(map).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::key::AlertKind;

    async fn names(notices: &[&'static str]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::folder(folder.path());
        let id = "MS181101ab".parse().expect("an id");
        let alert_type = AlertType { kind: AlertKind::Preliminary, external: false };
        let mut names = Vec::new();
        for notice in notices {
            let name = claim(&store, &id, alert_type, &Bytes::from_static(notice.as_bytes())).await.expect("a name");
            names.push(name.to_string());
        }
        names
    }

    #[tokio::test]
    async fn same_content_returns_the_claimed_name() {
        let seen =
            names(&[r#"{"a": 1, "b": 2}"#, r#"{"a": 1, "b": 3}"#, r#"{"b":2,"a":1.0e0}"#, r#"{"b": 3, "a": 1}"#]).await;
        assert_eq!(
            seen,
            ["MS181101ab-Preliminary", "MS181101ab-Preliminary1", "MS181101ab-Preliminary", "MS181101ab-Preliminary1"]
        );
    }

    #[tokio::test]
    async fn same_content_with_non_finite_numbers_or_byte_order_mark_returns_the_claimed_name() {
        let seen = names(&[r#"{"a": NaN, "b": 2}"#, r#"{"b":2,"a":NaN}"#, "\u{feff}{\"a\": NaN, \"b\": 2}"]).await;
        assert_eq!(seen, ["MS181101ab-Preliminary"; 3]);
    }

    #[tokio::test]
    async fn corrected_map_returns_the_claimed_name_and_another_notice_does_not() {
        let notice = |map: &str, time: &str| -> &'static str {
            format!(
                r#"{{"superevent_id": "MS181101ab", "alert_type": "PRELIMINARY", "time_created": "{time}",
                    "event": {{"time": "2018-11-01T22:22:46Z", "skymap": {map}}}}}"#
            )
            .leak()
        };
        let (time, later) = ("2018-11-01T22:34:49Z", "2018-11-01T22:39:49Z");
        let [junk, broken, none] = [r#""no base64!""#, r#""U0lNUExF""#, "null"].map(|map| notice(map, time));
        let seen = names(&[junk, broken, none, notice(r#""U0lNUExF""#, later)]).await;
        let second = "MS181101ab-Preliminary1";
        assert_eq!(seen, ["MS181101ab-Preliminary", "MS181101ab-Preliminary", second, "MS181101ab-Preliminary2"]);
    }

    #[tokio::test]
    async fn concurrent_claims_of_different_notices_get_different_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::folder(folder.path());
        let id: SupereventId = "S230518h".parse().expect("an id");
        let alert_type = AlertType { kind: AlertKind::Update, external: true };
        let claims = (0..16).map(|i| {
            let (store, id) = (store.clone(), id.clone());
            async move { claim(&store, &id, alert_type, &format!("{{\"i\": {i}}}").into()).await.expect("a name").n }
        });
        let mut taken = futures::future::join_all(claims).await;
        taken.sort_unstable();
        assert_eq!(taken, (0..16).collect::<Vec<_>>());
    }
}
