//! The settings of a Lambda function that no other program has.

use serde_json::{Map, Value};
use shared::{Error, Result};

use super::{Setting, all_settings, secrets, setting};

/// What a Lambda function reads beside the settings of [`super::Config`].
pub const SETTINGS: &[Setting] = &[
    setting("SETTINGS", "none", "JSON object of settings other than secrets; overrides the environment"),
    setting("SETTINGS_SECRETS", "none", "comma-separated names or ARNs of AWS secrets, each a JSON object of settings"),
];

/// The secrets that hold further settings.
pub fn settings_secrets() -> Vec<String> {
    let named = super::environment(&[])("SETTINGS_SECRETS").unwrap_or_default();
    named.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// The settings that SETTINGS holds.
///
/// # Errors
/// Permanent, when it is no JSON object of settings, or names one that is unknown or a secret.
pub fn settings_object() -> Result<Vec<(String, String)>> {
    read_object(&super::environment(&[])("SETTINGS").unwrap_or_default())
}

fn read_object(text: &str) -> Result<Vec<(String, String)>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let settings = parse_settings("setting `SETTINGS`", text)?;
    for (name, _) in &settings {
        let name = name.as_str();
        if !all_settings().any(|setting| setting.name == name) {
            let shown: String = name.chars().take(60).collect();
            let shown = shown.escape_default();
            return Err(Error::permanent(format!("setting `SETTINGS`: expected settings, found `{shown}`")));
        }
        if secrets().any(|secret| secret == name) {
            return Err(Error::permanent(format!(
                "setting `SETTINGS`: expected `{name}` in a secret, see SETTINGS_SECRETS"
            )));
        }
    }
    Ok(settings)
}

/// Reads a JSON object of settings, each a text, a number or a flag. No error holds any value.
///
/// # Errors
/// Permanent, naming `from`, when it is something else.
pub fn parse_settings(from: &str, text: &str) -> Result<Vec<(String, String)>> {
    let unreadable = |found: &str| {
        Error::permanent(format!("{from}: expected a JSON object of settings, each a text, found {found}"))
    };
    let settings: Map<String, Value> = serde_json::from_str(text).map_err(|_| unreadable("something else"))?;
    let setting = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        _ => Err(unreadable(&format!("another value of `{name}`"))),
    };
    settings.into_iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn every_setting_of_a_function_reaches_it_by_the_settings_object() {
        for Setting { name, is_secret, .. } in crate::settings() {
            let read = read_object(&serde_json::json!({ *name: "x" }).to_string());
            assert_eq!(read.is_err(), *is_secret, "{name}: {read:?}");
        }
        let read = read_object(r#"{"FLAT_MAX_ORDER": 9, "GALAXY_MOCKS": true, "SWIFT_POINTING_FILE": "swift/p.csv"}"#);
        let read = read.expect("settings");
        let config = Config::read(&|name| read.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone()));
        let config = config.expect("settings");
        assert_eq!((config.flat_max_order, config.galaxies.mocks), (Some(9), true));
        assert_eq!(config.swift.pointing_file.as_deref(), Some("swift/p.csv"));
        assert_eq!(read_object(" ").expect("none"), []);
    }

    #[test]
    fn an_unknown_setting_and_a_secret_are_refused_by_name_and_values_never_show() {
        for (text, says) in [
            (r#"{"FLAT_MAX_ODER": "hunter2"}"#, "FLAT_MAX_ODER"),
            (r#"{"API_TOKEN": "hunter2"}"#, "`API_TOKEN` in a secret"),
            (r#"{"FLAT_MAX_ORDER": ["hunter2"]}"#, "another value of `FLAT_MAX_ORDER`"),
            (r#"["hunter2"]"#, "expected a JSON object"),
            ("hunter2", "expected a JSON object"),
        ] {
            let error = read_object(text).expect_err("refused").to_string();
            assert!(error.contains(says) && error.contains("SETTINGS") && !error.contains("hunter2"), "{error}");
        }
    }
}
