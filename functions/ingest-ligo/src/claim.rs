//! The claim of an alert's name: its suffix n is taken by creating `{name}_alert.json`.

use bytes::Bytes;
use serde_json::Value;
use shared::key::{AlertName, AlertType, Object, SupereventId};
use shared::notice::content;
use shared::{Error, Result};
use store::Store;

/// The most alerts of one type that a superevent may have; the most seen has fewer than 20.
const MAX_ALERTS: u32 = 1_000;

/// Claims the first name that is free, or finds the one that this very notice has claimed before.
///
/// An object with the same content is this alert seen again, a different one means the next n. Contents are compared,
/// not bytes: the same notice from GraceDB differs from Kafka's in white space and the order of its fields.
///
/// # Errors
/// What the store says; Permanent after [`MAX_ALERTS`] names.
pub(crate) async fn claim(
    store: &Store,
    superevent_id: &SupereventId,
    alert_type: AlertType,
    notice: &Bytes,
) -> Result<AlertName> {
    for n in 0..MAX_ALERTS {
        let name = AlertName { superevent_id: superevent_id.clone(), alert_type, n };
        let key = Object::Notice(&name).key()?;
        if store.put_if_absent(&key, notice.clone()).await? || same_content(&store.read(&key).await?, notice) {
            return Ok(name);
        }
    }
    Err(Error::permanent(format!(
        "superevent `{superevent_id}`: expected fewer than {MAX_ALERTS} alerts of type `{alert_type}`"
    )))
}

fn same_content(a: &[u8], b: &[u8]) -> bool {
    a == b || content(a).zip(content(b)).is_some_and(|(a, b)| same_value(&a, &b))
}

/// Equality of canonical JSON (RFC 8785): fields in any order, numbers as IEEE doubles, so that 1 is 1.0.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_value(a, b)))
        }
        _ => a == b,
    }
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
    async fn the_same_content_is_the_same_alert() {
        let seen =
            names(&[r#"{"a": 1, "b": 2}"#, r#"{"a": 1, "b": 3}"#, r#"{"b":2,"a":1.0e0}"#, r#"{"b": 3, "a": 1}"#]).await;
        assert_eq!(
            seen,
            ["MS181101ab-Preliminary", "MS181101ab-Preliminary1", "MS181101ab-Preliminary", "MS181101ab-Preliminary1"]
        );
    }

    #[tokio::test]
    async fn numbers_that_are_not_finite_and_a_byte_order_mark_do_not_hide_the_same_content() {
        let seen = names(&[r#"{"a": NaN, "b": 2}"#, r#"{"b":2,"a":NaN}"#, "\u{feff}{\"a\": NaN, \"b\": 2}"]).await;
        assert_eq!(seen, ["MS181101ab-Preliminary"; 3]);
    }

    #[tokio::test]
    async fn racing_claims_of_different_notices_get_different_names() {
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
