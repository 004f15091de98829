//! Shared Key authorisation:
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shared::{Error, Result, Secret};

use super::super::http::Request;

/// Headers signed by value only, in this order after the body's length. `date` stays empty: `x-ms-date` replaces it.
const SIGNED: [&str; 8] = [
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs requests for an account.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    account: String,
    /// In base64.
    key: Secret,
}

impl Signer {
    pub fn new(account: &str, key: &Secret) -> Result<Self> {
        if BASE64_STANDARD.decode(key.reveal()).is_err() {
            return Err(Error::permanent("setting `AZURE_ACCOUNT_KEY`: expected base64"));
        }
        Ok(Signer { account: account.to_owned(), key: key.clone() })
    }

    /// Signs a request, which must have its date.
    pub fn sign(&self, request: Request) -> Request {
        let signature = self.signature(&text(&request, &self.account));
        request.header("authorization", format!("SharedKey {}:{signature}", self.account))
    }

    fn signature(&self, text: &str) -> String {
        // Infallible: `new` checked the base64, and HMAC accepts keys of any length.
        let key = BASE64_STANDARD.decode(self.key.reveal()).unwrap_or_default();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
        mac.update(text.as_bytes());
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// The string to sign of a request.
fn text(request: &Request, account: &str) -> String {
    let header = |name: &str| {
        request.headers.iter().find(|(set, _)| *set == name).map_or("", |(_, value)| value.as_str()).to_owned()
    };
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let mut lines = vec![request.method.to_string(), header("content-encoding"), header("content-language"), length];
    lines.extend(SIGNED.iter().map(|name| header(name)));
    let mut own: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .map(|(name, value)| format!("{name}:{}", value.trim()))
        .collect();
    own.sort();
    lines.extend(own);
    lines.push(format!("/{account}{}", request.url.path()));
    let mut query: Vec<String> =
        request.url.query_pairs().map(|(name, value)| format!("{}:{value}", name.to_lowercase())).collect();
    query.sort();
    lines.extend(query);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::super::http::{Method, address};
    use super::*;

    /// The example "List Containers" of the page above; the signature by
    /// `printf '…' | openssl dgst -sha256 -mac HMAC -macopt hexkey:6b6579 -binary | base64`.
    #[test]
    fn signs_a_request_as_documented() {
        let mut url = address("https://myaccount.blob.core.windows.net", "mycontainer").expect("an address");
        url.query_pairs_mut().extend_pairs([("restype", "container"), ("comp", "metadata"), ("timeout", "20")]);
        let request = Request::new(Method::GET, url)
            .header("x-ms-version", "2014-02-14")
            .header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2014-02-14\n\
                        /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20";
        assert_eq!(text(&request, "myaccount"), expected);
        let signer = Signer::new("myaccount", &Secret::new("a2V5")).expect("a key");
        assert_eq!(signer.signature(expected), "1bgT/UJYSYlXSZzyoWqKCOGLVM5nwogk/zMa9vixIV0=");
        assert!(Signer::new("myaccount", &Secret::new("no base64!")).is_err());
    }
}
