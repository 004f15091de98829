//! Where objects are kept: the settings of every back end, and `--store URL`, which stands for some of them.

use shared::{Error, Result, Secret};
use store::{AzureSettings, Location, S3Credentials, S3Settings, SwiftSettings};

use super::Reader;

/// The settings that a command line's `--store` stands for: `s3://BUCKET`, `abfs://ACCOUNT`, `swift://CONTAINER`, or a
/// folder, plain or as `file://PATH`. Everything else that the back end needs comes from its other settings; so does
/// everything after `fs`, `s3`, `abfs` or `swift` alone.
///
/// # Errors
/// Permanent for any other address.
pub fn store_settings(url: &str) -> Result<Vec<(&'static str, String)>> {
    if let "fs" | "s3" | "abfs" | "swift" = url {
        return Ok(vec![("STORAGE_BUCKET_SOURCE", url.to_owned())]);
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(vec![("STORAGE_BUCKET_SOURCE", "fs".to_owned()), ("STORAGE_FOLDER", url.to_owned())]);
    };
    let (source, setting) = match scheme {
        "file" => ("fs", "STORAGE_FOLDER"),
        "s3" => ("s3", "AWS_BUCKET"),
        "abfs" | "abfss" | "az" => ("abfs", "AZURE_ACCOUNT_NAME"),
        "swift" => ("swift", "OS_CONTAINER_NAME"),
        _ => return Err(not_a_store()),
    };
    let name = if source == "fs" { rest } else { rest.trim_end_matches('/') };
    if source != "fs" && (name.is_empty() || name.contains(['/', '?', '#', '@'])) {
        return Err(not_a_store());
    }
    Ok(vec![("STORAGE_BUCKET_SOURCE", source.to_owned()), (setting, name.to_owned())])
}

/// What was given is not shown: it may hold a password.
fn not_a_store() -> Error {
    Error::permanent("store: expected a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER`")
}

/// Reads the storage settings alone, from the environment: of `url` (as [`store_settings`]) where one is given. A
/// setting may be given for this store alone, behind `prefix`: with `SOURCE_`, `SOURCE_OS_AUTH_URL` goes before
/// `OS_AUTH_URL`.
///
/// # Errors
/// Permanent, naming every setting that is missing or malformed.
pub fn location(url: Option<&str>, prefix: &str) -> Result<Location> {
    let overrides = url.map(store_settings).transpose()?.unwrap_or_default();
    let environment = super::environment(&[]);
    read_location(&|name| match overrides.iter().find(|(given, _)| *given == name) {
        Some((_, value)) => Some(value.clone()),
        None => prefixed(name, prefix, &environment),
    })
}

fn read_location(get: &dyn Fn(&str) -> Option<String>) -> Result<Location> {
    let mut settings = Reader::new(get);
    let location = settings.storage();
    settings.finish(location)
}

fn prefixed(name: &str, prefix: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let own = |name: &str| environment(&format!("{prefix}{name}"));
    // An access key is taken whole: another's session token does not fit it.
    let is_key = matches!(name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN");
    if is_key && own("AWS_ACCESS_KEY_ID").is_some() {
        return own(name);
    }
    own(name).or_else(|| environment(name))
}

impl Reader<'_> {
    pub(super) fn storage(&mut self) -> Location {
        let source = self.text("STORAGE_BUCKET_SOURCE").unwrap_or_default();
        match source.as_str() {
            "s3" => Location::S3(self.s3()),
            "abfs" => Location::Azure(self.azure()),
            "swift" => Location::Swift(self.swift()),
            other => {
                if other != "fs" {
                    self.problem("STORAGE_BUCKET_SOURCE", "`fs`, `s3`, `abfs` or `swift`", other);
                }
                Location::Folder(self.text("STORAGE_FOLDER").unwrap_or_default().into())
            }
        }
    }

    fn s3(&mut self) -> S3Settings {
        let (id, secret) = (self.text("AWS_ACCESS_KEY_ID"), self.text("AWS_SECRET_ACCESS_KEY"));
        let token = self.text("AWS_SESSION_TOKEN");
        let half = match (&id, &secret) {
            (Some(_), None) => Some("`AWS_SECRET_ACCESS_KEY`: required with AWS_ACCESS_KEY_ID: its secret"),
            (None, Some(_)) => Some("`AWS_ACCESS_KEY_ID`: required with AWS_SECRET_ACCESS_KEY: the access key"),
            _ => None,
        };
        self.problems.extend(half.map(str::to_owned));
        S3Settings {
            bucket: self.text("AWS_BUCKET").unwrap_or_default(),
            region: self.text("AWS_DEFAULT_REGION").unwrap_or_default(),
            endpoint_url: self.optional_url("AWS_ENDPOINT_URL"),
            credentials: id.zip(secret).map(|(access_key_id, secret)| S3Credentials {
                access_key_id,
                secret_access_key: Secret::new(secret),
                session_token: token.map(Secret::new),
            }),
        }
    }

    fn azure(&mut self) -> AzureSettings {
        AzureSettings {
            account: self.required("AZURE_ACCOUNT_NAME", "abfs", "the storage account"),
            key: Secret::new(self.required("AZURE_ACCOUNT_KEY", "abfs", "the storage account's key")),
            endpoint_url: self.optional_url("AZURE_STORAGE_ENDPOINT"),
        }
    }

    fn swift(&mut self) -> SwiftSettings {
        let swift = SwiftSettings {
            auth_url: self.required("OS_AUTH_URL", "swift", "where Keystone v3 gives tokens"),
            username: self.required("OS_USERNAME", "swift", "the user, or an application credential's id"),
            password: Secret::new(self.required(
                "OS_PASSWORD",
                "swift",
                "the user's password, or the credential's secret",
            )),
            project_name: self.text("OS_PROJECT_NAME"),
            user_domain_name: self.text("OS_USER_DOMAIN_NAME").unwrap_or_default(),
            project_domain_name: self.text("OS_PROJECT_DOMAIN_NAME").unwrap_or_default(),
            container: self.text("OS_CONTAINER_NAME").unwrap_or_default(),
            storage_url: self.optional_url("OS_STORAGE_URL"),
        };
        if !swift.auth_url.is_empty() {
            self.url("OS_AUTH_URL");
        }
        if swift.is_application_credential() {
            if swift.storage_url.is_none() {
                let why = "required with an application credential (an OS_USERNAME of 32 hexadecimal digits)";
                self.problems.push(format!("`OS_STORAGE_URL`: {why}: the account's address in Swift"));
            }
        } else if swift.project_name.is_none() && !swift.username.is_empty() {
            self.problems
                .push("`OS_PROJECT_NAME`: required with a user's name: the project that is logged in to".to_owned());
        }
        if swift.container.contains('/') {
            self.problem("OS_CONTAINER_NAME", "a name without `/`", &swift.container);
        }
        swift
    }

    fn required(&mut self, name: &str, source: &str, purpose: &str) -> String {
        let text = self.text(name);
        if text.is_none() {
            self.problems.push(format!("`{name}`: required with `{source}`: {purpose}"));
        }
        text.unwrap_or_default()
    }

    fn optional_url(&mut self, name: &str) -> Option<String> {
        self.text(name).is_some().then(|| self.url(name).trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Location> {
        read_location(&|name| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn an_address_stands_for_settings() {
        let settings = |url: &str| {
            store_settings(url)
                .map(|settings| settings.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" "))
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
    fn what_a_back_end_misses_is_reported_together() {
        for (source, missing) in [
            ("abfs", &["AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"][..]),
            ("swift", &["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"][..]),
        ] {
            let error = read(&[("STORAGE_BUCKET_SOURCE", source)]).expect_err(source).to_string();
            for name in missing {
                assert!(
                    error.contains(&format!("`{name}`: required with `{source}`: the "))
                        || error.contains(&format!("`{name}`: required with `{source}`: where ")),
                    "{name}: {error}"
                );
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
    }

    #[test]
    fn secrets_never_show() {
        let secret = "hunter2";
        for settings in [
            &[("STORAGE_BUCKET_SOURCE", "abfs"), ("AZURE_ACCOUNT_NAME", "a"), ("AZURE_ACCOUNT_KEY", secret)][..],
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
    fn a_store_of_its_own_has_settings_of_its_own() {
        let environment = |name: &str| match name {
            "AWS_BUCKET" | "AWS_SESSION_TOKEN" | "SOURCE_AWS_ACCESS_KEY_ID" | "AWS_ACCESS_KEY_ID" => {
                Some(name.to_owned())
            }
            _ => None,
        };
        let source = |name: &str| prefixed(name, "SOURCE_", &environment);
        assert_eq!(source("AWS_BUCKET").as_deref(), Some("AWS_BUCKET"));
        assert_eq!(source("AWS_ACCESS_KEY_ID").as_deref(), Some("SOURCE_AWS_ACCESS_KEY_ID"));
        assert_eq!(source("AWS_SESSION_TOKEN"), None);
        assert_eq!(prefixed("AWS_SESSION_TOKEN", "DEST_", &environment).as_deref(), Some("AWS_SESSION_TOKEN"));
    }
}
