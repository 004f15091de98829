//! Authorises requests: with the account's key, a shared access signature, or a token.

use futures::FutureExt;
use jiff::Timestamp;
use shared::{Result, Secret};

use super::super::http::{Http, Request, Url, retried};
use super::super::token::TokenCache;
use super::identity::Identity;
use super::sign::Signer;
use super::{AzureLogin, AzureSettings};

/// The API version. Since this one, lists encode names with characters invalid in XML.
const VERSION: &str = "2021-12-02";

/// The credentials. Clones share the token.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    Key(Signer),
    Sas(Secret),
    Identity { identity: Identity, http: Http, tokens: TokenCache<Secret> },
}

impl Credentials {
    pub fn new(settings: &AzureSettings) -> Result<Self> {
        Ok(match &settings.login {
            AzureLogin::Key(key) => Credentials::Key(Signer::new(&settings.account, key)?),
            AzureLogin::Sas(sas) => Credentials::Sas(sas.clone()),
            AzureLogin::Identity(identity) => Credentials::Identity {
                http: identity.http()?,
                identity: identity.clone(),
                tokens: TokenCache::default(),
            },
        })
    }

    /// The name in errors, with the settings.
    pub fn name(&self) -> &'static str {
        match self {
            Credentials::Key(_) => "key (AZURE_ACCOUNT_KEY)",
            Credentials::Sas(_) => "shared access signature (AZURE_STORAGE_SAS_TOKEN)",
            Credentials::Identity { identity, .. } => identity.name(),
        }
    }

    /// Adds the date and the authorisation. Returns the token too, if one was used.
    pub async fn authorised(&self, request: Request) -> Result<(Request, Option<Secret>)> {
        let mut request = dated(request, Timestamp::now());
        Ok(match self {
            Credentials::Key(signer) => (signer.sign(request), None),
            Credentials::Sas(sas) => {
                request.url.query_pairs_mut().extend_pairs(parameters(sas));
                (request, None)
            }
            Credentials::Identity { identity, http, tokens } => {
                let token = tokens.get(retried(|| identity.token(http).boxed())).await?;
                (request.header("authorization", format!("Bearer {}", token.reveal())), Some(token))
            }
        })
    }

    /// Drops a rejected token.
    pub async fn forget(&self, refused: &Secret) {
        if let Credentials::Identity { tokens, .. } = self {
            tokens.forget(refused).await;
        }
    }

    /// Masks the secret in a text from the server.
    pub async fn hide(&self, text: String) -> String {
        let secret = match self {
            Credentials::Key(_) => None,
            Credentials::Sas(sas) => parameters(sas).into_iter().find(|(name, _)| name == "sig").map(|(_, sig)| sig),
            Credentials::Identity { tokens, .. } => tokens.peek().await.map(|token| token.reveal().to_owned()),
        };
        secret.map_or(text.clone(), |secret| text.replace(&secret, "***"))
    }
}

/// Adds the date and the API version.
pub(super) fn dated(request: Request, now: Timestamp) -> Request {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    request.header("x-ms-date", date).header("x-ms-version", VERSION)
}

/// The parameters of a shared access signature, with or without a leading `?`.
fn parameters(sas: &Secret) -> Vec<(String, String)> {
    let Ok(url) = Url::parse(&format!("https://sas/?{}", sas.reveal().trim_start_matches('?'))) else {
        return Vec::new();
    };
    url.query_pairs().into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::http::{Method, address};
    use super::*;

    #[test]
    fn formats_the_date_for_http() {
        let now: Timestamp = "2026-02-03T04:05:06.7Z".parse().expect("a time");
        let request = Request::new(Method::GET, address("http://h", "c").expect("an address"));
        let request = dated(request, now);
        assert!(request.headers.contains(&("x-ms-date", "Tue, 03 Feb 2026 04:05:06 GMT".to_owned())), "{request:?}");
    }

    #[tokio::test]
    async fn adds_the_signature_to_the_query_and_masks_it() {
        let sas = Credentials::Sas(Secret::new("?sv=2021-12-02&sp=rwl&sig=a%2Bb%3D"));
        let mut url = address("http://h", "c").expect("an address");
        url.query_pairs_mut().append_pair("comp", "list");
        let (request, token) = sas.authorised(Request::new(Method::GET, url)).await.expect("authorised");
        assert_eq!(request.url.query(), Some("comp=list&sv=2021-12-02&sp=rwl&sig=a%2Bb%3D"));
        assert!(token.is_none() && request.headers.iter().all(|(name, _)| *name != "authorization"));
        assert_eq!(sas.hide("signed with a+b=".to_owned()).await, "signed with ***");
    }
}
