//! A store's location, from the settings or `--store`, and the list of back ends.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use shared::settings::{Reader, Setting, defaulted};
use shared::{Error, Result};

use super::backend::{Backend, BackendSettings};
use super::{azure, folder, s3, swift};

/// Every back end.
const SCHEMES: [&Scheme; 4] = [&folder::SCHEME, &s3::SCHEME, &azure::SCHEME, &swift::SCHEME];

/// The setting that selects one.
const SOURCE: Setting =
    defaulted("STORAGE_BUCKET_SOURCE", "fs", "the store: `fs` (a folder), `s3`, `abfs` (Azure) or `swift`");

/// A back end's names in settings and URLs.
pub(crate) struct Scheme {
    /// Its value of STORAGE_BUCKET_SOURCE.
    pub source: &'static str,
    /// The schemes of its URLs: `s3` in `s3://BUCKET`.
    pub schemes: &'static [&'static str],
    /// The setting after the scheme: `AWS_BUCKET`.
    pub name: &'static str,
    /// The form of its URLs, for help and errors.
    pub form: &'static str,
    /// The settings it reads.
    pub settings: &'static [Setting],
    /// The settings that must come from one source together: a session token belongs to its access key.
    pub log_in: &'static [&'static str],
    /// Reads the settings.
    pub read: fn(&mut Reader<'_>) -> Location,
}

/// The settings of all back ends.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    std::iter::once(&SOURCE).chain(SCHEMES.iter().flat_map(|scheme| scheme.settings))
}

/// The settings that must come from the same source as `name`, including itself.
pub fn log_in(name: &str) -> &'static [&'static str] {
    SCHEMES.iter().map(|scheme| scheme.log_in).find(|names| names.contains(&name)).unwrap_or_default()
}

/// The forms of `--store`: "a folder, `s3://BUCKET`, … or `swift://CONTAINER`".
pub fn forms() -> String {
    let [others @ .., last] = SCHEMES.map(|scheme| scheme.form);
    format!("{} or {last}", others.join(", "))
}

/// Translates `--store` to settings: a folder, plain or as `file://PATH`, a URL such as `s3://BUCKET`, or just `fs`,
/// `s3`,
/// `abfs` or `swift`. The rest comes from the back end's other settings.
///
/// # Errors
/// Permanent for any other form.
pub fn overrides(url: &str) -> Result<Vec<(&'static str, String)>> {
    let source = |scheme: &Scheme| (SOURCE.name, scheme.source.to_owned());
    if let Some(scheme) = SCHEMES.iter().find(|scheme| scheme.source == url) {
        return Ok(vec![source(scheme)]);
    }
    // Do not show the URL: it may contain a password.
    let not_a_store = || Error::permanent(format!("store: expected {}", forms()));
    let Some((given, rest)) = url.split_once("://") else {
        return Ok(vec![source(&folder::SCHEME), (folder::SCHEME.name, url.to_owned())]);
    };
    let scheme = SCHEMES.iter().find(|scheme| scheme.schemes.contains(&given)).ok_or_else(not_a_store)?;
    let is_folder = scheme.source == folder::SCHEME.source;
    let name = if is_folder { rest } else { rest.trim_end_matches('/') };
    if !is_folder && (name.is_empty() || name.contains(['/', '?', '#', '@'])) {
        return Err(not_a_store());
    }
    Ok(vec![source(scheme), (scheme.name, name.to_owned())])
}

/// The location of a store. Equal locations are the same store, independent of the log-in. Prints as the value of
/// `--store`, without secrets.
#[derive(Clone)]
pub struct Location(Arc<dyn BackendSettings>);

impl Location {
    pub(crate) fn new(settings: impl BackendSettings + 'static) -> Self {
        Location(Arc::new(settings))
    }

    /// Reads the settings of the store.
    pub fn read(settings: &mut Reader<'_>) -> Self {
        let source = settings.text(SOURCE.name).unwrap_or_default();
        let scheme = SCHEMES.iter().find(|scheme| scheme.source == source).unwrap_or_else(|| {
            let sources = SCHEMES.map(|scheme| format!("`{}`", scheme.source)).join(", ");
            settings.problem(SOURCE.name, &format!("one of {sources}"), &source);
            &SCHEMES[0]
        });
        (scheme.read)(settings)
    }

    /// Reads only the settings of the store, from any source. An empty value counts as unset.
    ///
    /// # Errors
    /// Permanent, naming every setting that is missing or malformed.
    pub fn from_settings(get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let default = |name: &str| {
            settings().find(|setting| setting.name == name && setting.has_value).map(|setting| setting.default)
        };
        let mut settings = Reader::new(get, &default);
        let location = Location::read(&mut settings);
        settings.finish(location)
    }

    /// The local folder of an `fs` store.
    pub fn folder(&self) -> Option<&Path> {
        self.0.folder()
    }

    pub(crate) async fn connect(&self) -> Result<Arc<dyn Backend>> {
        self.0.connect().await
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Location> {
        Location::from_settings(&|name| {
            settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn translates_store_urls_to_settings() {
        let settings = |url: &str| {
            overrides(url).map(|settings| settings.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" "))
        };
        for (url, expected) in [
            ("data", "fs data"),
            ("./s3", "fs ./s3"),
            ("s3", "s3"),
            ("swift", "swift"),
            ("/data/x:y/", "fs /data/x:y/"),
            ("file:///data/", "fs /data/"),
            ("s3://bucket/", "s3 bucket"),
            ("abfs://account", "abfs account"),
            ("swift://container", "swift container"),
        ] {
            assert_eq!(settings(url).as_deref(), Ok(expected), "{url}");
        }
        for url in ["s3://", "s3://bucket/folder", "https://hunter2@example.org/", "S3://bucket", "swift://a?hunter2"] {
            let error = settings(url).expect_err(url);
            assert!(!error.is_retryable() && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn reports_all_missing_settings_together() {
        for (source, missing) in [
            ("abfs", &["AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"][..]),
            ("swift", &["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"][..]),
        ] {
            let error = read(&[("STORAGE_BUCKET_SOURCE", source)]).expect_err(source).to_string();
            for name in missing {
                assert!(error.contains(&format!("`{name}`: required with `{source}`: ")), "{name}: {error}");
            }
        }
        let swift = [("STORAGE_BUCKET_SOURCE", "swift"), ("OS_AUTH_URL", "keystone:5000"), ("OS_PASSWORD", "hunter2")];
        let error = read(&[&swift[..], &[("OS_USERNAME", "me")]].concat()).expect_err("two problems").to_string();
        assert!(
            error.contains("OS_PROJECT_NAME") && error.contains("OS_AUTH_URL") && !error.contains("hunter2"),
            "{error}"
        );
        let id = "0123456789abcdef0123456789ABCDEF";
        let error = read(&[&swift[..], &[("OS_USERNAME", id)]].concat()).expect_err("two problems").to_string();
        assert!(error.contains("OS_STORAGE_URL") && !error.contains("OS_PROJECT_NAME"), "{error}");
        let error = read(&[("STORAGE_BUCKET_SOURCE", "s3"), ("AWS_ACCESS_KEY_ID", "x")]).expect_err("half a key");
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
        let azure = [("STORAGE_BUCKET_SOURCE", "abfs"), ("AZURE_ACCOUNT_NAME", "a")];
        let error = read(&[&azure[..], &[("AZURE_FEDERATED_TOKEN_FILE", "/token")]].concat()).expect_err("no tenant");
        assert!(
            error.to_string().contains("AZURE_TENANT_ID") && error.to_string().contains("AZURE_CLIENT_ID"),
            "{error}"
        );
    }

    #[test]
    fn secrets_never_show() {
        let secret = "hunter2";
        for settings in [
            &[("STORAGE_BUCKET_SOURCE", "abfs"), ("AZURE_ACCOUNT_NAME", "a"), ("AZURE_ACCOUNT_KEY", secret)][..],
            &[
                ("STORAGE_BUCKET_SOURCE", "abfs"),
                ("AZURE_ACCOUNT_NAME", "a"),
                ("AZURE_STORAGE_SAS_TOKEN", "sig=hunter2"),
            ],
            &[
                ("STORAGE_BUCKET_SOURCE", "s3"),
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", secret),
                ("AWS_SESSION_TOKEN", secret),
            ],
            &[
                ("STORAGE_BUCKET_SOURCE", "swift"),
                ("OS_AUTH_URL", "http://x"),
                ("OS_USERNAME", "a"),
                ("OS_PASSWORD", secret),
                ("OS_PROJECT_NAME", "p"),
            ],
        ] {
            let location = read(settings).expect("a location");
            assert!(!format!("{location:?} {location}").contains(secret), "{location:?}");
        }
    }

    #[test]
    fn declares_every_setting_it_reads() {
        let requested = std::cell::RefCell::new(std::collections::BTreeSet::new());
        for scheme in SCHEMES {
            let _ = Location::from_settings(&|name| {
                requested.borrow_mut().insert(name.to_owned());
                (name == SOURCE.name).then(|| scheme.source.to_owned())
            });
        }
        assert_eq!(requested.into_inner(), settings().map(|setting| setting.name.to_owned()).collect());
    }

    #[test]
    fn locations_are_equal_independent_of_the_log_in() {
        let s3 = |more: &[(&'static str, &'static str)]| {
            read(&[&[("STORAGE_BUCKET_SOURCE", "s3"), ("AWS_BUCKET", "a")], more].concat()).expect("a location")
        };
        assert_eq!(s3(&[]), s3(&[("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "x")]));
        assert_ne!(s3(&[]), s3(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let fs = |path: &str| read(&[("STORAGE_FOLDER", path)]).expect("a location");
        assert_eq!(fs(&path), fs(&format!("{path}//.")));
        assert_ne!(fs(&path), fs(&format!("{path}/x")));
        assert_ne!(fs("a"), read(&[("STORAGE_BUCKET_SOURCE", "s3"), ("AWS_BUCKET", "a")]).expect("a location"));
    }
}
