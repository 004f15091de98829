//! Settings that are secrets, from AWS Secrets Manager: they are in no function's configuration.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use serde_json::{Map, Value};
use shared::{Error, Result};

/// How long what was read holds: a token that was replaced is used after this at the latest.
const AGE: Duration = Duration::from_secs(300);

/// The secrets that SETTINGS_SECRETS names, each a JSON object of settings.
pub(super) struct Secrets {
    client: Option<Client>,
    ids: Vec<String>,
    read: Vec<(String, String)>,
    at: Instant,
}

impl Secrets {
    /// Makes the client, when there is anything to read.
    pub(super) async fn open() -> Self {
        let ids = config::settings_secrets();
        let client = match ids.is_empty() {
            true => None,
            false => Some(Client::new(&http_client::aws::settings().load().await)),
        };
        Secrets { client, ids, read: Vec::new(), at: Instant::now() }
    }

    /// The settings that the secrets hold.
    ///
    /// # Errors
    /// Retryable, when a secret cannot be read; Permanent, naming it, when it is no JSON object of texts.
    pub(super) async fn read(&mut self) -> Result<Vec<(String, String)>> {
        let mut settings = Vec::new();
        if let Some(client) = &self.client {
            for id in &self.ids {
                let answer = client
                    .get_secret_value()
                    .secret_id(id)
                    .send()
                    .await
                    .map_err(|error| Error::retryable(format!("secret `{id}`: {}", DisplayErrorContext(&error))))?;
                settings.extend(parse(id, answer.secret_string().unwrap_or_default())?);
            }
        }
        self.at = Instant::now();
        self.read.clone_from(&settings);
        Ok(settings)
    }

    /// The settings once more, when they are old and have changed. What was read holds on where they cannot be read.
    pub(super) async fn read_again(&mut self) -> Option<Vec<(String, String)>> {
        if self.client.is_none() || self.at.elapsed() < AGE {
            return None;
        }
        let before = self.read.clone();
        match self.read().await {
            Ok(settings) => (settings != before).then_some(settings),
            Err(error) => {
                tracing::warn!("settings were not read again: {error}");
                self.at = Instant::now();
                None
            }
        }
    }
}

/// Reads a secret's text. No error holds any of it.
fn parse(id: &str, text: &str) -> Result<Vec<(String, String)>> {
    let unreadable = |found: &str| {
        Error::permanent(format!("secret `{id}`: expected a JSON object of settings, each a text, found {found}"))
    };
    let settings: Map<String, Value> = serde_json::from_str(text).map_err(|_| unreadable("something else"))?;
    let setting = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        _ => Err(unreadable(&format!("another value of `{name}`"))),
    };
    settings.into_iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_an_object_of_settings_and_shows_in_no_error() {
        let settings = parse("gwtm", r#"{"API_TOKEN": "hunter2", "API_BASE": "https://example.org/"}"#);
        assert_eq!(settings.expect("settings").len(), 2);
        for text in ["hunter2", r#"["hunter2"]"#, r#"{"API_TOKEN": ["hunter2"]}"#, ""] {
            let error = parse("gwtm", text).expect_err("no settings").to_string();
            assert!(
                error.starts_with("secret `gwtm`: expected a JSON object") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
