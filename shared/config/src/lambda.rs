//! The one setting of a Lambda function that no other program has.

use super::{Setting, setting};

/// What a Lambda function reads beside the settings of [`super::Config`].
pub const SETTINGS: &[Setting] = &[setting(
    "SETTINGS_SECRETS",
    "none",
    "names or ARNs of AWS secrets, separated by commas, each a JSON object of settings",
)];

/// The secrets that hold further settings.
pub fn settings_secrets() -> Vec<String> {
    let named = super::environment(&[])(SETTINGS[0].name).unwrap_or_default();
    named.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}
