//! Sends requests and classifies the responses.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_client::{causes, shown};
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode, Url};
use runtime::Backoff;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::{Class, Context, Error, Result};

use super::{Client, Generation, MAX_DELAY, RequestError};

/// Maximum size of a response [bytes]: several lists of 50,000 galaxies.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Maximum length of a server's message in errors [characters].
pub(super) const MAX_MESSAGE_CHARS: usize = 2000;

/// A complete response.
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// Where a redirect leads.
    pub(super) location: Option<Url>,
}

impl Client {
    /// Sends a GET with retries and parses the response.
    pub(super) async fn get<T: DeserializeOwned>(&self, endpoint: &str, fields: &[(&str, &str)]) -> Result<T> {
        let answer = self.repeat(Method::GET, endpoint, fields).await?;
        if !self.success(answer.status) {
            return Err(self.failure(&Method::GET, endpoint, &answer).into());
        }
        self.read(&Method::GET, endpoint, &answer.body)
    }

    /// Sends an idempotent request with retries. Returns the first response that is not Retryable, or the last one.
    pub(super) async fn repeat(&self, method: Method, endpoint: &str, fields: &[(&str, &str)]) -> Result<ApiResponse> {
        let in_body = method == Method::POST || self.generation == Generation::V0;
        let body = in_body.then(|| fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect());
        let query = if in_body { &[] } else { fields };
        let mut attempt = 1;
        loop {
            let outcome = self.send(&method, endpoint, query, body.clone()).await;
            let again = match &outcome {
                Ok(answer) if self.success(answer.status) => false,
                Ok(answer) => Error::from(self.failure(&method, endpoint, answer)).is_retryable(),
                Err(failure) => Error::from(failure.clone()).is_retryable(),
            };
            if !again || attempt >= self.timing.attempts || self.left().is_zero() {
                return outcome.map_err(Error::from);
            }
            self.pause(attempt).await;
            attempt += 1;
        }
    }

    /// Sends a request once: it is not idempotent, so the caller must check the rows before a retry.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        body: Value,
    ) -> std::result::Result<T, RequestError> {
        let method = Method::POST;
        let answer = self.send(&method, endpoint, &[], Some(body)).await?;
        if !self.success(answer.status) {
            return Err(self.failure(&method, endpoint, &answer));
        }
        self.read(&method, endpoint, &answer.body).map_err(RequestError::Over)
    }

    /// Sends a request once and reads the response.
    pub(super) async fn send(
        &self,
        method: &Method,
        endpoint: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> std::result::Result<ApiResponse, RequestError> {
        let name = || self.name(method, endpoint);
        let left = self.left();
        if left.is_zero() {
            return Err(RequestError::Over(self.out_of_time(name())));
        }
        let url = self.base.join(endpoint).permanent(name()).map_err(RequestError::Refused)?;
        let mut request = self.http.request(method.clone(), url).query(query).timeout(self.timing.answer.min(left));
        request = match (self.generation, body) {
            (Generation::V1, None) => request.bearer_auth(&self.token),
            (Generation::V1, Some(body)) => request.bearer_auth(&self.token).json(&body),
            (Generation::V0, body) => {
                let mut body = body.unwrap_or_else(|| json!({}));
                body["api_token"] = json!(self.token);
                request.json(&body)
            }
        };
        let failed = |error: reqwest::Error| format!("{}: {}", name(), self.hide(&causes(&error.without_url())));
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => return Err(RequestError::Refused(Error::permanent(failed(error)))),
            // No connection, so nothing was sent.
            Err(error) if error.is_connect() => return Err(RequestError::Over(Error::retryable(failed(error)))),
            Err(error) => return Err(RequestError::Unknown(Error::retryable(failed(error)))),
        };
        let status = answer.status();
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.filter(|_| status.is_redirection()).and_then(|to| answer.url().join(to).ok());
        tracing::debug!(%method, endpoint, status = status.as_u16(), "API response");
        let mut bytes = BytesMut::new();
        loop {
            match answer.chunk().await {
                Ok(None) => return Ok(ApiResponse { status, body: bytes.freeze(), location }),
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER_BYTES => bytes.extend_from_slice(&chunk),
                Ok(Some(_)) => {
                    return Err(RequestError::Over(Error::permanent(format!(
                        "{}: expected a response of at most {MAX_ANSWER_BYTES} bytes, found more",
                        name()
                    ))));
                }
                Err(error) => return Err(RequestError::Unknown(Error::retryable(failed(error)))),
            }
        }
    }

    pub(super) fn success(&self, status: StatusCode) -> bool {
        match self.generation {
            Generation::V0 => status == StatusCode::OK,
            Generation::V1 => status.is_success(),
        }
    }

    /// Classifies an error status.
    pub(super) fn failure(&self, method: &Method, endpoint: &str, answer: &ApiResponse) -> RequestError {
        let status = answer.status.as_u16();
        let message = match &answer.location {
            Some(location) => self.hide(&self.redirected(endpoint, location)),
            None => self.hide(&cut(&server_message(&answer.body))),
        };
        let text = format!("{}: expected status 200, found {status}: {message}", self.name(method, endpoint));
        match status {
            // v0 rejects with 500 and a sentence; its internal errors are an HTML page.
            500 if self.generation == Generation::V0 && !message.starts_with('<') => {
                RequestError::Refused(Error::permanent(text))
            }
            // A gateway timed out; the server may still store it.
            502 | 504 => RequestError::Unknown(Error::retryable(text)),
            _ => match http_client::class(status) {
                Class::Retryable => RequestError::Over(Error::retryable(text)),
                Class::Permanent => RequestError::Refused(Error::permanent(text)),
            },
        }
    }

    /// What a redirect means: no request follows one, since a POST would become a GET.
    fn redirected(&self, endpoint: &str, location: &Url) -> String {
        let moved = location.path().trim_end_matches('/').strip_suffix(endpoint).map(|path| {
            let mut base = location.clone();
            base.set_path(path);
            shown(base.as_str())
        });
        match moved {
            Some(base) if self.base.scheme() == "http" && location.scheme() == "https" => {
                format!("the server redirects http to https: set API_BASE to `{base}`")
            }
            Some(base) => format!("the server redirects: set API_BASE to `{base}`"),
            None => format!("the server redirects to `{}`, which is no API: see API_BASE", shown(location.as_str())),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, method: &Method, endpoint: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| {
            let found = self.hide(&cut(&String::from_utf8_lossy(bytes)));
            Error::retryable(format!("{}: unexpected response: {error}, found `{found}`", self.name(method, endpoint)))
        })
    }

    /// The request's name in errors.
    pub(super) fn name(&self, method: &Method, endpoint: &str) -> String {
        format!("`{method} {endpoint}` at `{}`", shown(self.base.as_str()))
    }

    /// Masks the token in a text from the server.
    pub(super) fn hide(&self, text: &str) -> String {
        if self.token.is_empty() { text.to_owned() } else { text.replace(&self.token, "***") }
    }

    /// Sleeps before the next attempt, with exponential backoff.
    pub async fn pause(&self, attempt: u32) {
        tokio::time::sleep(self.backoff().pause(attempt).min(self.left())).await;
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.timing.delay, MAX_DELAY)
    }

    /// The remaining time of the budget.
    pub(super) fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    pub(super) fn out_of_time(&self, what: impl std::fmt::Display) -> Error {
        Error::retryable(format!("{what}: the time budget of {} s is used up", self.timing.budget.as_secs_f64()))
    }
}

/// The server's message with every named field, or the plain text of its response.
pub(super) fn server_message(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).trim().to_owned();
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(message) = answer.get("message").or_else(|| answer.get("detail")) else { return text(&answer) };
    let errors = answer.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let errors = errors.iter().map(|error| {
        let message = error.get("message").map_or_else(|| text(error), text);
        match error.pointer("/params/field") {
            Some(field) => format!("field `{}`: {message}", text(field)),
            None => message,
        }
    });
    std::iter::once(text(message)).chain(errors).collect::<Vec<_>>().join("; ")
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}
