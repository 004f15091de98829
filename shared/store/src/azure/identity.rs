//! Microsoft Entra tokens for a managed identity or a workload identity.

use std::path::PathBuf;

use bytes::Bytes;
use http_client::shown;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use shared::{Context, Error, Result, Secret};
use tokio::io::AsyncReadExt;

use super::super::http::{Http, Method, Request, StreamedResponse, address};
use super::super::token::Token;

/// The resource of managed identities' tokens.
const RESOURCE: &str = "https://storage.azure.com/";
/// The scope of workload identities' tokens.
const SCOPE: &str = "https://storage.azure.com/.default";
/// The API version of the instance metadata service.
const IMDS_VERSION: &str = "2018-02-01";
/// Maximum size of a token response and of a token file [bytes].
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The identity that logs in.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// The machine's managed identity:
    /// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>.
    Managed {
        /// URL of the instance metadata service.
        endpoint: String,
        /// Selects one of several.
        client_id: Option<String>,
    },
    /// A workload identity that trusts a token of the platform, such as Kubernetes:
    /// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.
    Workload {
        /// URL that exchanges the token.
        authority: String,
        tenant_id: String,
        client_id: String,
        /// Read at every exchange, since the platform renews it.
        token_file: PathBuf,
    },
}

impl Identity {
    /// The name in errors, with the settings.
    pub fn name(&self) -> &'static str {
        match self {
            Identity::Managed { .. } => "managed identity (AZURE_MANAGED_IDENTITY, AZURE_CLIENT_ID)",
            Identity::Workload { .. } => {
                "workload identity (AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE)"
            }
        }
    }

    /// A client for token requests. The metadata service is not reachable through a proxy.
    pub fn http(&self) -> Result<Http> {
        match self {
            Identity::Managed { .. } => Http::without_proxy(),
            Identity::Workload { .. } => Http::new(),
        }
    }

    /// Requests a token, without retries.
    pub async fn token(&self, http: &Http) -> Result<Token<Secret>> {
        let (request, assertion) = match self {
            Identity::Managed { endpoint, client_id } => (managed(endpoint, client_id.as_deref())?, None),
            Identity::Workload { authority, tenant_id, client_id, token_file } => {
                let assertion = read(token_file).await?;
                (exchange(authority, tenant_id, client_id, &assertion)?, Some(assertion))
            }
        };
        let what = format!("token for the {} from `{}`", self.name(), shown(request.url.as_str()));
        let answer = http.once(request).await.map_err(|error| error.of(&what))?;
        if answer.is_success() { token(answer, &what).await } else { Err(self.refused(answer, &what, assertion).await) }
    }

    async fn refused(&self, answer: StreamedResponse, what: &str, assertion: Option<Secret>) -> Error {
        let (status, busy) = (answer.status, answer.is_busy());
        let mut message = answer.message().await;
        if let Some(assertion) = assertion {
            message = message.replace(assertion.reveal(), "***");
        }
        // The metadata service returns 404 and 410 during its updates.
        let retryable = busy || matches!((self, status), (Identity::Managed { .. }, 404 | 410));
        let text = format!("{what}: status {status} {message}");
        if retryable { Error::retryable(text) } else { Error::permanent(text) }
    }
}

fn managed(endpoint: &str, client_id: Option<&str>) -> Result<Request> {
    let mut url = address(endpoint, "metadata/identity/oauth2/token")?;
    url.query_pairs_mut().extend_pairs([("api-version", IMDS_VERSION), ("resource", RESOURCE)]);
    if let Some(id) = client_id {
        url.query_pairs_mut().append_pair("client_id", id);
    }
    Ok(Request::new(Method::GET, url).header("metadata", "true"))
}

fn exchange(authority: &str, tenant_id: &str, client_id: &str, assertion: &Secret) -> Result<Request> {
    let url = address(authority, &format!("{tenant_id}/oauth2/v2.0/token"))?;
    let mut form = url.clone();
    form.query_pairs_mut().clear().extend_pairs([
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("scope", SCOPE),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.reveal()),
    ]);
    let body = Bytes::from(form.query().unwrap_or_default().to_owned());
    Ok(Request::new(Method::POST, url).header("content-type", "application/x-www-form-urlencoded").body(body))
}

async fn read(file: &PathBuf) -> Result<Secret> {
    let named = || format!("file `{}` (AZURE_FEDERATED_TOKEN_FILE)", file.display());
    let mut text = String::new();
    let opened = tokio::fs::File::open(file).await.permanent(named())?;
    opened.take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text).await.permanent(named())?;
    match text.trim() {
        "" => Err(Error::permanent(format!("{}: expected a token, found none", named()))),
        _ if text.len() as u64 > MAX_TOKEN_BYTES => {
            Err(Error::permanent(format!("{}: expected at most {MAX_TOKEN_BYTES} bytes, found more", named())))
        }
        token => Ok(Secret::new(token)),
    }
}

/// Parses a token response; `expires_in` may be a number or a string.
async fn token(answer: StreamedResponse, what: &str) -> Result<Token<Secret>> {
    let body = answer.bytes(MAX_TOKEN_BYTES).await.map_err(|error| error.of(what))?;
    // The parser's error is dropped, because it may show the token.
    let found: Value = serde_json::from_slice(&body).unwrap_or_default();
    let seconds = &found["expires_in"];
    let seconds = seconds.as_i64().or_else(|| seconds.as_str()?.parse().ok());
    let end = seconds.and_then(|seconds| Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok());
    match (found["access_token"].as_str(), end) {
        (Some(token), Some(end)) => Ok(Token::until(Secret::new(token), end)),
        _ => Err(Error::permanent(format!("{what}: expected JSON with `access_token` and `expires_in`, found other"))),
    }
}
