//! Settings that are secrets, from AWS Secrets Manager: they are in no function's configuration.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use shared::{Error, Result};

/// How long what was read holds: a token that was replaced is used after this at the latest.
const AGE: Duration = Duration::from_secs(300);

/// How long a connection and an answer may take, all attempts together: a cold start has 10 s (Lambda developer guide,
/// life cycle of the execution environment), and two secrets are read.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(4);

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
            false => {
                let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build();
                let sdk = http_client::aws::settings().load().await;
                Some(Client::from_conf(Builder::from(&sdk).timeout_config(timeouts).build()))
            }
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
                settings.extend(config::parse_settings(
                    &format!("secret `{id}`"),
                    answer.secret_string().unwrap_or_default(),
                )?);
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
