//! Log-in at Keystone v3, with tokens shared by all requests until they expire.

use bytes::Bytes;
use futures::FutureExt;
use http_client::shown;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Error, Result, Secret};

use super::super::http::{Http, Method, Request, address, retried};
use super::super::token::{Token, TokenCache};
use super::SwiftSettings;

/// Maximum size of a log-in response with its service catalogue [bytes].
const MAX_RESPONSE_BYTES: u64 = 4 << 20;

/// A session: the token and the account's address.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub token: Secret,
    /// URL of the account.
    pub storage_url: String,
}

/// The log-in. Clones share the token.
#[derive(Debug, Clone)]
pub(super) struct Keystone {
    http: Http,
    settings: SwiftSettings,
    tokens: TokenCache<Session>,
}

impl Keystone {
    pub fn new(http: Http, settings: SwiftSettings) -> Self {
        Keystone { http, settings, tokens: TokenCache::default() }
    }

    /// Returns the cached session, or logs in.
    pub async fn access(&self) -> Result<Session> {
        self.tokens.get(retried(|| self.log_in().boxed())).await
    }

    /// Returns a fresh session, for a request that cannot be retried.
    pub async fn fresh(&self) -> Result<Session> {
        self.tokens.fresh(retried(|| self.log_in().boxed())).await
    }

    /// Masks the token in a text from the server.
    pub async fn hide(&self, text: &str) -> String {
        match self.tokens.peek().await {
            Some(access) => text.replace(access.token.reveal(), "***"),
            None => text.to_owned(),
        }
    }

    /// Drops a rejected session, unless a newer one has replaced it.
    pub async fn forget(&self, refused: &Session) {
        self.tokens.forget(refused).await;
    }

    async fn log_in(&self) -> Result<Token<Session>> {
        let swift = &self.settings;
        let url = address(&versioned(&swift.auth_url), "auth/tokens")?;
        let shown = shown(url.as_str());
        let request = Request::new(Method::POST, url)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Bytes::from(credentials(swift).to_string()));
        let answer = self.http.once(request).await?;
        if !answer.is_success() {
            let (status, busy) = (answer.status, answer.is_busy());
            let message = answer.message().await.replace(swift.password.reveal(), "***");
            let reason = match status {
                401 if swift.is_application_credential() => {
                    "the application credential was rejected (OS_USERNAME is its id, OS_PASSWORD its secret): "
                }
                401 => {
                    "the user, password, project or a domain was rejected (OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME): "
                }
                404 => "no Keystone v3 (OS_AUTH_URL): ",
                _ => "",
            };
            let text = format!("log-in at `{shown}`: {reason}status {status} {message}");
            return Err(if busy { Error::retryable(text) } else { Error::permanent(text) });
        }
        let token = answer.header("x-subject-token").map(Secret::new);
        let body = answer.bytes(MAX_RESPONSE_BYTES).await.map_err(|error| error.of(format!("log-in at `{shown}`")))?;
        // Shows only the position, because the parser's error may show the token.
        let found: TokenResponse = serde_json::from_slice(&body).map_err(|error| {
            let position = format!("line {}, column {}", error.line(), error.column());
            Error::permanent(format!("log-in at `{shown}`: expected a token, found something else at {position}"))
        })?;
        let token = token.ok_or_else(|| {
            Error::permanent(format!("log-in at `{shown}`: expected the header `X-Subject-Token`, found none"))
        })?;
        let storage_url = match &swift.storage_url {
            Some(url) => found.token.complete(url),
            None => found.token.storage_url().ok_or_else(|| {
                Error::permanent(format!(
                    "log-in at `{shown}`: expected a public endpoint of `object-store` in the catalogue, found none \
                     (set OS_STORAGE_URL)"
                ))
            })?,
        };
        Ok(Token::until(Session { token, storage_url }, found.token.expires_at))
    }
}

/// Normalises OS_AUTH_URL, which may end with `/v3` or not.
fn versioned(auth_url: &str) -> String {
    let base = auth_url.trim_end_matches('/');
    let base = base.strip_suffix("/auth/tokens").unwrap_or(base);
    if base.ends_with("/v3") { base.to_owned() } else { format!("{base}/v3") }
}

/// The body of the log-in. An application credential implies its scope.
fn credentials(swift: &SwiftSettings) -> Value {
    let secret = swift.password.reveal();
    if swift.is_application_credential() {
        return json!({ "auth": { "identity": {
            "methods": ["application_credential"],
            "application_credential": { "id": swift.username, "secret": secret },
        } } });
    }
    json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": {
            "name": swift.username,
            "domain": { "name": swift.user_domain_name },
            "password": secret,
        } } },
        "scope": { "project": {
            "name": swift.project_name,
            "domain": { "name": swift.project_domain_name },
        } },
    } })
}

#[derive(Debug, Deserialize)]
struct TokenResponse {
    token: Scope,
}

#[derive(Debug, Deserialize)]
struct Scope {
    expires_at: Timestamp,
    #[serde(default)]
    project: Option<Project>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Project {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    url: String,
}

impl Scope {
    /// The account's public URL in the catalogue.
    fn storage_url(&self) -> Option<String> {
        let swift = self.catalog.iter().filter(|service| service.kind == "object-store");
        let mut endpoints = swift.flat_map(|service| &service.endpoints);
        Some(endpoints.find(|endpoint| endpoint.interface == "public")?.url.clone())
    }

    /// Completes an OS_STORAGE_URL that ends with the API version (`…/swift/v1`): appends the catalogue's account, or
    /// without a catalogue the token's project. A catalogue URL without an account (as of Ceph) means that none is
    /// needed.
    fn complete(&self, given: &str) -> String {
        let given = given.trim_end_matches('/');
        if !given.ends_with("/v1") {
            return given.to_owned();
        }
        let catalogue = self.storage_url();
        let account = match catalogue.as_deref().map(|url| url.trim_end_matches('/')) {
            Some(url) => url.rsplit_once("/v1").map_or("", |(_, account)| account).to_owned(),
            None => self.project.as_ref().map(|project| format!("/AUTH_{}", project.id)).unwrap_or_default(),
        };
        given.to_owned() + &account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_url_with_and_without_its_version() {
        for url in
            ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/", "http://k:5000/v3/auth/tokens"]
        {
            assert_eq!(versioned(url), "http://k:5000/v3", "{url}");
        }
        assert_eq!(versioned("https://cloud/identity"), "https://cloud/identity/v3");
    }

    #[test]
    fn completes_a_storage_url_without_an_account() {
        let token = |catalogue: Option<&str>| -> Scope {
            let endpoints = catalogue.map(|url| json!({"interface": "public", "url": url}));
            let services = endpoints.map(|endpoint| json!({"type": "object-store", "endpoints": [endpoint]}));
            let services: Vec<Value> = services.into_iter().collect();
            let token = json!({"expires_at": "2026-01-01T00:00:00Z", "project": {"id": "p1"}, "catalog": services});
            serde_json::from_value(token).expect("a token")
        };
        let given = "https://swift.example.org/swift/v1";
        for (catalogue, given, expected) in [
            (None, given, "https://swift.example.org/swift/v1/AUTH_p1"),
            (Some("http://10.0.0.1:8080/v1/AUTH_p2"), given, "https://swift.example.org/swift/v1/AUTH_p2"),
            (Some("https://swift.example.org/swift/v1"), given, given),
            (None, "https://swift.example.org/v1/", "https://swift.example.org/v1/AUTH_p1"),
            (None, "https://swift.example.org/v1/AUTH_x", "https://swift.example.org/v1/AUTH_x"),
            (Some("https://a/v1/AUTH_p2"), "https://swift.example.org/v1/KEY_x", "https://swift.example.org/v1/KEY_x"),
        ] {
            assert_eq!(token(catalogue).complete(given), expected);
        }
    }

    #[test]
    fn builds_the_body_of_both_log_ins() {
        let mut swift = SwiftSettings {
            auth_url: "http://k".to_owned(),
            username: "me".to_owned(),
            password: Secret::new("hunter2"),
            project_name: Some("alerts".to_owned()),
            user_domain_name: "Default".to_owned(),
            project_domain_name: "Other".to_owned(),
            container: "c".to_owned(),
            storage_url: None,
        };
        let body = credentials(&swift);
        assert_eq!(body["auth"]["scope"]["project"]["domain"]["name"], "Other");
        assert_eq!(body["auth"]["identity"]["password"]["user"]["password"], "hunter2");
        swift.username = "0123456789abcdef0123456789abcdef".to_owned();
        let body = credentials(&swift);
        assert_eq!(body["auth"]["scope"], Value::Null);
        assert_eq!(body["auth"]["identity"]["application_credential"]["secret"], "hunter2");
    }
}
