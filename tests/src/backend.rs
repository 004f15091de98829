//! Back ends of the store for tests, with a new bucket, container, account or folder for every test.

use std::future::Future;
use std::net::SocketAddr;

use aws_sdk_s3::config::{Credentials, Region};
use config::Config;
use store::{Location, Store};
use tempfile::TempDir;

use crate::server::unique;

/// Environment variables of a store.
pub type Settings = Vec<(&'static str, String)>;

/// A back end of the store, with its capabilities.
pub trait Backend: Sync {
    /// Whether create-if-absent is atomic.
    const CREATES_ATOMICALLY: bool = true;
    /// Whether it returns MD5 and ETag of an object.
    const KNOWS_MD5: bool = true;
    /// Number of objects that exceeds a page of a list. Pages have 1000 names on S3, 5000 on Azure, 10,000 on Swift.
    const LISTED: usize = 10_010;
    /// Rounds of concurrent writes.
    const ROUNDS: u8 = 12;
    /// The setting that holds its log-in's secret, and the one that names the container.
    const SECRET_AND_CONTAINER: (&'static str, &'static str) = ("", "");

    /// Whether it supports this name.
    fn supports(&self, _name: &str) -> bool {
        true
    }

    /// Settings of a bucket, container, account or folder that does not exist, with this prefix in its name.
    fn absent(&self, name: &str) -> Settings;

    /// Creates the bucket, container, account or folder of these settings.
    fn make(&self, settings: &Settings) -> impl Future<Output = ()> + Send;

    /// Creates a new one, with this prefix in its name.
    fn create(&self, name: &str) -> impl Future<Output = Settings> + Send {
        async {
            let settings = self.absent(name);
            self.make(&settings).await;
            settings
        }
    }
}

/// A back end with an address, which can be put behind a proxy.
pub trait Service: Backend {
    /// The same objects through a proxy, such as [`crate::faults::Faults`].
    fn behind(&self, settings: &Settings, proxy: SocketAddr) -> Settings;

    /// Address of the server.
    fn address(&self) -> SocketAddr;
}

/// Local folders.
#[derive(Debug)]
pub struct Folders(TempDir);

impl Default for Folders {
    fn default() -> Self {
        Folders(tempfile::tempdir().expect("a folder"))
    }
}

impl Backend for Folders {
    const KNOWS_MD5: bool = false;
    const ROUNDS: u8 = 60;

    fn absent(&self, name: &str) -> Settings {
        let folder = self.0.path().join(unique(name)).display().to_string();
        vec![("STORAGE_BUCKET_SOURCE", "fs".to_owned()), ("STORAGE_FOLDER", folder)]
    }

    async fn make(&self, _: &Settings) {}
}

/// An S3 server.
pub trait S3Server: Sync {
    /// Access key and secret key of its user.
    const KEYS: (&str, &str);
    /// See [`Backend::CREATES_ATOMICALLY`].
    const CREATES_ATOMICALLY: bool;
    /// See [`Backend::LISTED`].
    const LISTED: usize;

    /// See [`Backend::supports`].
    fn supports(&self, _name: &str) -> bool {
        true
    }

    /// Address of the server.
    fn address(&self) -> SocketAddr;
}

impl<S: S3Server> Backend for S {
    const CREATES_ATOMICALLY: bool = <S as S3Server>::CREATES_ATOMICALLY;
    const LISTED: usize = <S as S3Server>::LISTED;
    const SECRET_AND_CONTAINER: (&'static str, &'static str) = ("AWS_SECRET_ACCESS_KEY", "AWS_BUCKET");

    fn supports(&self, name: &str) -> bool {
        S3Server::supports(self, name)
    }

    fn absent(&self, name: &str) -> Settings {
        let (access_key, secret_key) = S::KEYS;
        vec![
            ("STORAGE_BUCKET_SOURCE", "s3".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", S3Server::address(self))),
            ("AWS_ACCESS_KEY_ID", access_key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret_key.to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_BUCKET", unique(name)),
        ]
    }

    async fn make(&self, settings: &Settings) {
        let (access_key, secret_key) = S::KEYS;
        let sdk = http_client::aws::settings()
            .region(Region::new("us-east-1"))
            .endpoint_url(value(settings, "AWS_ENDPOINT_URL"))
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "tests"))
            .load()
            .await;
        let config = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        client.create_bucket().bucket(value(settings, "AWS_BUCKET")).send().await.expect("a bucket");
    }
}

impl<S: S3Server> Service for S {
    fn behind(&self, settings: &Settings, proxy: SocketAddr) -> Settings {
        with(settings, "AWS_ENDPOINT_URL", format!("http://{proxy}"))
    }

    fn address(&self) -> SocketAddr {
        S3Server::address(self)
    }
}

/// A setting's value, or an empty string.
pub fn value<'a>(settings: &'a Settings, name: &str) -> &'a str {
    settings.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

/// The settings with one changed.
#[must_use]
pub fn with(settings: &Settings, name: &'static str, value: String) -> Settings {
    let others = settings.iter().filter(|(found, _)| *found != name).cloned();
    others.chain([(name, value)]).collect()
}

/// The location of a store, from its settings.
///
/// # Panics
/// When they are wrong.
pub fn location(settings: &Settings) -> Location {
    Config::from_env(settings).expect("settings").storage
}

/// Opens a store, from its settings.
///
/// # Panics
/// When they are wrong.
pub async fn open(settings: &Settings) -> Store {
    Store::open(&location(settings)).await.expect("a store")
}
