//! S3 and compatible servers.
//!
//! Create-if-absent is `If-None-Match: *`. The object's metadata holds the creator's id, so that a retry after a lost
//! response recognises its own object. This is atomic on AWS. Other servers may not be atomic (Ceph is, Swift's S3 API
//! is not), so there a creator waits, then checks that the stored object has its id.
//!
//! Large objects are multipart uploads, which become visible when complete. Their ETag is no MD5; a known MD5 goes into
//! the metadata, as rclone does.

#[cfg(feature = "s3")]
mod client;

use std::sync::Arc;

use async_trait::async_trait;
use shared::settings::{Reader, Setting, defaulted, secret, setting};
use shared::{Result, Secret};

use super::backend::{Backend, BackendSettings};
use super::location::{Location, Scheme};

pub(super) const SCHEME: Scheme = Scheme {
    source: "s3",
    schemes: &["s3"],
    name: "AWS_BUCKET",
    form: "`s3://BUCKET`",
    settings: SETTINGS,
    log_in: &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
    read,
};

const SETTINGS: &[Setting] = &[
    defaulted("AWS_BUCKET", "gwtreasuremap", "the bucket of the `s3` store"),
    defaulted("AWS_DEFAULT_REGION", "us-east-2", "the region of the bucket"),
    setting("AWS_ENDPOINT_URL", "AWS", "URL of another S3 server; requests are path-style"),
    secret("AWS_ACCESS_KEY_ID", "a profile or role", "access key of the `s3` store"),
    secret("AWS_SECRET_ACCESS_KEY", "a profile or role", "secret of the access key"),
    secret("AWS_SESSION_TOKEN", "none", "session token of temporary credentials"),
];

/// A bucket on S3 or a compatible server.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "only the client reads it"))]
struct S3Settings {
    bucket: String,
    region: String,
    /// URL of another server, addressed path-style.
    endpoint_url: Option<String>,
    /// None: the SDK's default chain (a profile, a role).
    credentials: Option<S3Credentials>,
}

/// An access key.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "only the client reads it"))]
struct S3Credentials {
    access_key_id: String,
    secret_access_key: Secret,
    /// Of temporary credentials.
    session_token: Option<Secret>,
}

fn read(settings: &mut Reader<'_>) -> Location {
    let (id, secret) = (settings.text("AWS_ACCESS_KEY_ID"), settings.text("AWS_SECRET_ACCESS_KEY"));
    let token = settings.text("AWS_SESSION_TOKEN");
    let half = match (&id, &secret) {
        (Some(_), None) => Some("`AWS_SECRET_ACCESS_KEY`: required with AWS_ACCESS_KEY_ID: its secret"),
        (None, Some(_)) => Some("`AWS_ACCESS_KEY_ID`: required with AWS_SECRET_ACCESS_KEY: the access key"),
        _ => None,
    };
    settings.problems.extend(half.map(str::to_owned));
    Location::new(S3Settings {
        bucket: settings.text("AWS_BUCKET").unwrap_or_default(),
        region: settings.text("AWS_DEFAULT_REGION").unwrap_or_default(),
        endpoint_url: settings.optional_url("AWS_ENDPOINT_URL"),
        credentials: id.zip(secret).map(|(access_key_id, secret)| S3Credentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
        }),
    })
}

#[async_trait]
impl BackendSettings for S3Settings {
    #[cfg(feature = "s3")]
    async fn connect(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(client::S3::connect(self.clone()).await))
    }

    #[cfg(not(feature = "s3"))]
    async fn connect(&self) -> Result<Arc<dyn Backend>> {
        let store = self.url();
        Err(shared::Error::permanent(format!(
            "store `{store}`: this program was built without S3 (build it with `--features s3`)"
        )))
    }

    fn url(&self) -> String {
        format!("s3://{}", self.bucket)
    }

    fn identity(&self) -> String {
        format!("{:?}", (self.url(), &self.endpoint_url))
    }
}
