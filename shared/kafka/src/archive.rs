//! Messages in the store: unchanged under `inbox/`, dead letters under `failed/`.

use bytes::Bytes;
use shared::digest::sha256;
use shared::key::{Key, Object};
use shared::message::{Body, Failed, Received, execution_name};
use shared::notice::{MAX_NOTICE_BYTES, NoticeKind};
use shared::{Context, Error, Result};
use store::Store;

use crate::consumer::Message;

/// Name of a notice's flow execution, `{topic}-{partition}-{offset}`: unique per message, and limited to the characters
/// that Step Functions and CloudWatch allow (letters, digits, `-`, `_`). Entries under `failed/` use it too.
pub fn flow_name(topic: &str, partition: i32, offset: i64) -> String {
    execution_name(topic, &format!("-{partition}-{offset}"))
}

/// [`flow_name`] with the first 8 hexadecimal digits of the body's SHA-256, for a name that another message has taken.
pub fn flow_name_with_hash(message: &Message) -> String {
    let hash = sha256(message.body.as_deref().unwrap_or_default());
    execution_name(&message.topic, &format!("-{}-{}-{}", message.partition, message.offset, &hash[..8]))
}

/// Returns the kind of notice that a message carries.
///
/// # Errors
/// Permanent, when the topic is unknown, the payload is missing, or it exceeds [`MAX_NOTICE_BYTES`].
pub fn kind(message: &Message) -> Result<NoticeKind> {
    let kind = NoticeKind::of_topic(&message.topic)?;
    match &message.body {
        None => Err(Error::permanent(format!("message {message}: expected a notice, found no payload"))),
        Some(body) if body.len() > MAX_NOTICE_BYTES => Err(Error::permanent(format!(
            "message {message}: expected at most {MAX_NOTICE_BYTES} bytes, found {}",
            body.len()
        ))),
        Some(_) => Ok(kind),
    }
}

/// Stores a message under `inbox/`. Returns its kind and the input of its flow.
///
/// # Errors
/// As [`kind`], and the store's errors.
pub async fn keep(store: &Store, message: &Message) -> Result<(NoticeKind, Received)> {
    let kind = kind(message)?;
    let key = inbox(message)?;
    store.put(&key, message.body.clone().unwrap_or_default()).await?;
    Ok((kind, received(message, Body::Key(key))))
}

/// Whether `inbox/` holds this message's bytes at its offset; `None` when it has no object for the offset.
///
/// # Errors
/// The store's errors.
pub async fn matches(store: &Store, message: &Message) -> Result<Option<bool>> {
    let Ok(key) = inbox(message) else { return Ok(None) };
    let kept = store.get(&key).await?;
    Ok(kept.map(|kept| kept == message.body.as_deref().unwrap_or_default()))
}

/// Dead-letters a message: writes it under `failed/` with the failed step and the reason. `part` distinguishes several
/// failures of one message.
///
/// # Errors
/// The store's errors. The caller must then not store the offset.
pub async fn dead_letter(store: &Store, message: &Message, part: &str, step: &str, reason: &Error) -> Result<Key> {
    let stored = match inbox(message) {
        Ok(key) => store.head(&key).await?.map(|_| key),
        Err(_) => None,
    };
    // Inline only when `inbox/` has no copy.
    let body = stored.map_or_else(
        || Body::Inline(String::from_utf8_lossy(message.body.as_deref().unwrap_or_default()).into_owned()),
        Body::Key,
    );
    let failed = Failed {
        step: step.to_owned(),
        error: reason.class().as_str().to_owned(),
        reason: reason.to_string(),
        input: serde_json::to_value(received(message, body)).permanent("JSON")?,
    };
    let bytes = serde_json::to_vec_pretty(&failed).permanent("JSON")?;
    let name = flow_name(&message.topic, message.partition, message.offset) + part;
    let key = Object::Failed(&name).key()?;
    store.put(&key, Bytes::from(bytes)).await?;
    tracing::error!(
        topic = message.topic, partition = message.partition, offset = message.offset, object_key = %key, step,
        "notice failed: {reason}"
    );
    Ok(key)
}

/// Prefix of the topic under `inbox/` for mock and test alerts, so that a bucket lifecycle rule can expire them.
const MOCK_PREFIX: &str = "mock.";

fn inbox(message: &Message) -> Result<Key> {
    let topic =
        if message.envelope.is_test() { format!("{MOCK_PREFIX}{}", message.topic) } else { message.topic.clone() };
    Object::Inbox { topic: &topic, partition: message.partition, offset: message.offset }.key()
}

fn received(message: &Message, body: Body) -> Received {
    Received {
        topic: message.topic.clone(),
        partition: Some(message.partition),
        offset: Some(message.offset),
        kafka_time: message.time,
        body,
    }
}

#[cfg(test)]
mod tests {
    use shared::message::MAX_EXECUTION_NAME;

    use super::*;

    #[test]
    fn flow_names_are_valid_and_unique() {
        let name = |offset| flow_name(NoticeKind::Igwn.topic(), 0, offset);
        assert_eq!(name(7), "igwn_gwalert-0-7");
        assert_ne!(name(7), name(70));
        for topic in [NoticeKind::Igwn.topic(), NoticeKind::IceCube.topic(), "ü/../…", &"x".repeat(300)] {
            let name = flow_name(topic, i32::MAX, i64::MAX);
            assert!(name.len() <= MAX_EXECUTION_NAME, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{name}");
            assert!(name.ends_with("-2147483647-9223372036854775807"), "{name}");
        }
        let named = |topic: &str, body: &'static str| {
            flow_name_with_hash(&Message::new(topic.to_owned(), i32::MAX, i64::MAX, None, Some(body.into())))
        };
        assert_ne!(named("t", "a"), named("t", "b"));
        assert!(named(&"x".repeat(300), "a").len() <= MAX_EXECUTION_NAME);
    }
}
