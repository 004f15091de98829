//! Deserialises values that a later release may write: those that this release does not know are left out, as unknown fields
//! are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::message::Role;

/// A value; `None` when it is absent or unknown.
pub(crate) fn value<'de, D: Deserializer<'de>, T: DeserializeOwned>(reader: D) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(Value::deserialize(reader)?).ok())
}

/// The known items of a list.
pub(crate) fn items<'de, D: Deserializer<'de>, T: DeserializeOwned>(reader: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Value>::deserialize(reader)?.into_iter().filter_map(|item| T::deserialize(item).ok()).collect())
}

/// A role; an unknown one is not that of a real event.
pub(crate) fn role<'de, D: Deserializer<'de>>(reader: D) -> Result<Role, D::Error> {
    Ok(value(reader)?.unwrap_or(Role::Test))
}
