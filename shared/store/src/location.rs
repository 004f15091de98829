//! Where objects are kept, and what it takes to get there.

use std::fmt;
use std::path::PathBuf;

use shared::Secret;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// A bucket on S3, or on a server that speaks its protocol.
    S3(S3Settings),
    /// An account of Azure Blob Storage; the first segment of a name is the container.
    Azure(AzureSettings),
    /// A container of OpenStack Swift.
    Swift(SwiftSettings),
}

/// A bucket on S3, or on a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// AWS_BUCKET.
    pub bucket: String,
    /// AWS_DEFAULT_REGION.
    pub region: String,
    /// AWS_ENDPOINT_URL; other servers are addressed path-style.
    pub endpoint_url: Option<String>,
    /// AWS_ACCESS_KEY_ID and its like; without them the SDK's ordinary chain (a profile, a role) is asked.
    pub credentials: Option<S3Credentials>,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// AWS_ACCESS_KEY_ID.
    pub access_key_id: String,
    /// AWS_SECRET_ACCESS_KEY.
    pub secret_access_key: Secret,
    /// AWS_SESSION_TOKEN, with a key that a role has been given for a while.
    pub session_token: Option<Secret>,
}

/// An account of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureSettings {
    /// AZURE_ACCOUNT_NAME.
    pub account: String,
    /// AZURE_ACCOUNT_KEY, in base64.
    pub key: Secret,
    /// AZURE_STORAGE_ENDPOINT; without it `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint_url: Option<String>,
}

/// A container of OpenStack Swift, and the log-in at Keystone v3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwiftSettings {
    /// OS_AUTH_URL, with or without `/v3`.
    pub auth_url: String,
    /// OS_USERNAME: a user's name, or the 32 hexadecimal digits of an application credential.
    pub username: String,
    /// OS_PASSWORD: the user's password, or the application credential's secret.
    pub password: Secret,
    /// OS_PROJECT_NAME, with a user's name.
    pub project_name: Option<String>,
    /// OS_USER_DOMAIN_NAME.
    pub user_domain_name: String,
    /// OS_PROJECT_DOMAIN_NAME.
    pub project_domain_name: String,
    /// OS_CONTAINER_NAME.
    pub container: String,
    /// OS_STORAGE_URL; with a user's name it is found in Keystone's catalogue.
    pub storage_url: Option<String>,
}

impl SwiftSettings {
    /// Whether the user's name is the id of an application credential.
    pub fn is_application_credential(&self) -> bool {
        self.username.len() == 32 && self.username.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// As `--store` takes it, without secrets.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(path) => write!(f, "{}", path.display()),
            Location::S3(s3) => write!(f, "s3://{}", s3.bucket),
            Location::Azure(azure) => write!(f, "abfs://{}", azure.account),
            Location::Swift(swift) => write!(f, "swift://{}", swift.container),
        }
    }
}
