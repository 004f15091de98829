//! Where objects are kept, for the commands that take two stores or any store.

use shared::Result;
use store::Location;

/// Reads the settings of the store alone, from the environment: of `url` (as [`store::overrides`]) where one is given. A
/// setting may be given for this store alone, behind `prefix`: with `SOURCE_`, `SOURCE_OS_AUTH_URL` goes before
/// `OS_AUTH_URL`.
///
/// # Errors
/// Permanent, naming every setting that is missing or malformed.
pub fn location(url: Option<&str>, prefix: &str) -> Result<Location> {
    read(&url.map(store::overrides).transpose()?.unwrap_or_default(), prefix)
}

/// A bucket of S3 in a region, with the log-in of the environment.
///
/// # Errors
/// As [`location`].
pub fn bucket(name: &str, region: &str) -> Result<Location> {
    let mut overrides = store::overrides(&format!("s3://{name}"))?;
    overrides.push(("AWS_DEFAULT_REGION", region.to_owned()));
    read(&overrides, "")
}

fn read(overrides: &[(&'static str, String)], prefix: &str) -> Result<Location> {
    let environment = super::environment(&[]);
    Location::from_settings(&|name| match overrides.iter().find(|(given, _)| *given == name) {
        Some((_, value)) => Some(value.clone()),
        None => prefixed(name, prefix, &environment),
    })
}

fn prefixed(name: &str, prefix: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let own = |name: &str| environment(&format!("{prefix}{name}"));
    // A log-in is taken whole.
    if store::log_in(name).iter().any(|name| own(name).is_some()) {
        return own(name);
    }
    own(name).or_else(|| environment(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
