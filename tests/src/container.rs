//! Buckets and containers: a new one for every test, in whatever store its settings name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use config::Config;
use store::Location;

use crate::server::Settings;
use crate::{azurite, swift};

/// The first segments of names that are containers in a new account on Azure.
pub const ROOTS: [&str; 3] = ["fit", "test", "inbox"];

static ACCOUNTS: AtomicUsize = AtomicUsize::new(0);

/// A setting's value, or nothing.
pub fn value<'a>(settings: &'a Settings, name: &str) -> &'a str {
    settings.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn set(settings: &mut Settings, name: &'static str, value: String) {
    settings.retain(|(found, _)| *found != name);
    settings.push((name, value));
}

/// The settings that [`crate::server::run_ignored_tests`] has given this process.
pub fn settings_of_this_process() -> Settings {
    const NAMES: [&str; 15] = [
        "STORAGE_BUCKET_SOURCE",
        "STORAGE_FOLDER",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AZURE_ACCOUNT_NAME",
        "AZURE_ACCOUNT_KEY",
        "AZURE_STORAGE_ENDPOINT",
        "OS_AUTH_URL",
        "OS_USERNAME",
        "OS_PASSWORD",
        "OS_PROJECT_NAME",
        "TEST_KEYSTONE",
        "TEST_MEMCACHED",
    ];
    NAMES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect()
}

/// The same store with another bucket, container, account or folder, which nobody has made.
pub fn named(settings: &Settings, name: &str) -> Settings {
    let mut settings = settings.clone();
    match value(&settings, "STORAGE_BUCKET_SOURCE") {
        "s3" => set(&mut settings, "AWS_BUCKET", name.to_owned()),
        "swift" => set(&mut settings, "OS_CONTAINER_NAME", name.to_owned()),
        "abfs" => {
            let account = azurite::account(ACCOUNTS.fetch_add(1, Ordering::Relaxed));
            let address = address(value(&settings, "AZURE_STORAGE_ENDPOINT"));
            set(&mut settings, "AZURE_STORAGE_ENDPOINT", azurite::endpoint(address, &account));
            set(&mut settings, "AZURE_ACCOUNT_NAME", account);
        }
        _ => {
            let folder = format!("{}/{name}", value(&settings, "STORAGE_FOLDER"));
            set(&mut settings, "STORAGE_FOLDER", folder);
        }
    }
    settings
}

/// The same store with a new bucket, container, account or folder.
///
/// # Panics
/// When it cannot be made.
pub async fn create(settings: &Settings, name: &str) -> Settings {
    let settings = named(settings, name);
    match value(&settings, "STORAGE_BUCKET_SOURCE") {
        "s3" => {
            let key = (value(&settings, "AWS_ACCESS_KEY_ID"), value(&settings, "AWS_SECRET_ACCESS_KEY"));
            let config = aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .endpoint_url(value(&settings, "AWS_ENDPOINT_URL"))
                .credentials_provider(Credentials::new(key.0, key.1, None, None, "tests"))
                .force_path_style(true)
                .build();
            let client = aws_sdk_s3::Client::from_conf(config);
            client.create_bucket().bucket(name).send().await.expect("a bucket");
        }
        "swift" => {
            swift::create_container(address(value(&settings, "OS_AUTH_URL")), name);
        }
        "abfs" => {
            let address = address(value(&settings, "AZURE_STORAGE_ENDPOINT"));
            for root in ROOTS {
                azurite::create_container(address, value(&settings, "AZURE_ACCOUNT_NAME"), root);
            }
        }
        _ => {}
    }
    settings
}

/// The host and port of an address such as `http://127.0.0.1:5000/v3`.
///
/// # Panics
/// When it has none.
pub fn address(url: &str) -> SocketAddr {
    let rest = url.trim_start_matches("http://");
    rest.split('/').next().and_then(|host| host.parse().ok()).unwrap_or_else(|| panic!("{url}: expected a port"))
}

/// The same store behind another address, such as that of [`crate::faults::Faults`].
///
/// # Panics
/// When it is a folder.
pub fn behind(settings: &Settings, proxy: SocketAddr) -> Settings {
    let mut settings = settings.clone();
    match value(&settings, "STORAGE_BUCKET_SOURCE") {
        "s3" => set(&mut settings, "AWS_ENDPOINT_URL", format!("http://{proxy}")),
        "abfs" => {
            let endpoint = azurite::endpoint(proxy, value(&settings, "AZURE_ACCOUNT_NAME"));
            set(&mut settings, "AZURE_STORAGE_ENDPOINT", endpoint);
        }
        "swift" => {
            let path = swift_account(&settings).trim_start_matches("http://").to_owned();
            let path = path.split_once('/').map(|(_, path)| path.to_owned()).unwrap_or_default();
            set(&mut settings, "OS_STORAGE_URL", format!("http://{proxy}/{path}"));
        }
        _ => panic!("a folder has no address"),
    }
    settings
}

/// Where the objects are, whatever stands before them.
pub fn upstream(settings: &Settings) -> SocketAddr {
    match value(settings, "STORAGE_BUCKET_SOURCE") {
        "s3" => address(value(settings, "AWS_ENDPOINT_URL")),
        "abfs" => address(value(settings, "AZURE_STORAGE_ENDPOINT")),
        _ => address(&swift_account(settings)),
    }
}

fn swift_account(settings: &Settings) -> String {
    swift::create_container(address(value(settings, "OS_AUTH_URL")), value(settings, "OS_CONTAINER_NAME"))
}

/// Where a store is, by its settings.
///
/// # Panics
/// When they are wrong.
pub fn location(settings: &Settings) -> Location {
    Config::from_env(settings).expect("settings").storage
}
