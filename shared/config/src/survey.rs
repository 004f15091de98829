//! What is set, what holds by default, and what does not go together.

use super::{Config, KAFKA_SETTINGS, Kafka, Setting, environment, secrets, settings};

/// A setting as it is now.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as it may be shown; `None` when it is not set.
    pub value: Option<String>,
}

/// Everything about the settings as they are now.
#[derive(Debug, Clone, Default)]
pub struct Surveyed {
    /// Every setting of the functions, then of Kafka.
    pub settings: Vec<Survey>,
    /// What is missing or malformed.
    pub problems: Vec<String>,
    /// What is set and does not go together, or names what is not there.
    pub contradictions: Vec<String>,
}

/// Surveys the environment.
pub fn survey() -> Surveyed {
    survey_of(&environment(&[]))
}

fn survey_of(get: &dyn Fn(&str) -> Option<String>) -> Surveyed {
    let text = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let settings = settings()
        .chain(KAFKA_SETTINGS)
        .map(|setting| Survey { setting, value: text(setting.name).map(|value| shown(setting.name, &value)) })
        .collect();
    let config = Config::read(get);
    let mut problems: Vec<String> = config.as_ref().err().map(ToString::to_string).into_iter().collect();
    let mut contradictions = contradictions(&text);
    if let Ok(config) = config {
        contradictions.extend(config.log.warnings);
        if text("PATH_TO_GALAXY_CATALOG_CONFIG").is_some() && config.galaxies.catalog.is_none() {
            let what = "`PATH_TO_GALAXY_CATALOG_CONFIG` is set, and neither its file nor `CATALOG_PATH` names a catalogue: \
                        there are no galaxy lists";
            contradictions.push(what.to_owned());
        }
    }
    // Nothing of Kafka is needed until something of it is set.
    if KAFKA_SETTINGS.iter().any(|setting| text(setting.name).is_some() && !setting.name.ends_with("_ARN")) {
        problems.extend(Kafka::read(get).err().map(|error| error.to_string()));
    }
    Surveyed { settings, problems, contradictions }
}

/// A value without what may be secret in it.
fn shown(name: &str, value: &str) -> String {
    // The rules themselves may hold secrets; the name of their file does not.
    let is_file = name == "NOTIFY_CONFIG" && !value.contains("[[");
    if secrets().any(|secret| secret == name) && !is_file {
        return "***".to_owned();
    }
    if value.contains("://") && name != "STORAGE_FOLDER" { http_client::shown(value) } else { value.to_owned() }
}

/// Settings that one of would be enough, or that mean nothing without another.
fn contradictions(text: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let set = |name: &str| text(name).is_some();
    let is = |name: &str, values: &[&str]| {
        text(name).is_some_and(|value| values.contains(&value.to_ascii_lowercase().as_str()))
    };
    let yes = |name: &str| is(name, &["true", "1", "yes", "on"]);
    let source = text("STORAGE_BUCKET_SOURCE").unwrap_or_else(|| "fs".to_owned());
    let mut found = Vec::new();
    let mut say = |so: bool, what: &str| {
        if so {
            found.push(what.to_owned());
        }
    };
    say(yes("DRY_RUN") && set("API_BASE"), "`DRY_RUN` is true: nothing is posted to `API_BASE`");
    say(set("API_TOKEN") && !set("API_BASE"), "`API_TOKEN` is set without `API_BASE`: nothing is posted");
    say(set("OBSERVING_RUN") && !set("API_BASE"), "`OBSERVING_RUN` is set without `API_BASE`: nothing is posted");
    let base = text("API_BASE").unwrap_or_default();
    let generation = ["/api/v1", "/api/v0"].iter().any(|ending| base.trim_end_matches('/').ends_with(ending));
    say(set("API_BASE") && !generation, "`API_BASE` does not end with `/api/v1/`, where the GWTM's API is");
    say(
        set("API_TOKEN") && http_client::is_exposed(&base),
        "`API_BASE` is plain http: `API_TOKEN` crosses the network unencrypted; set it to `https://…`",
    );
    say(
        is("WRITE_TO_STORAGE", &["false", "0", "no", "off"]) && set("API_BASE") && !yes("DRY_RUN"),
        "`WRITE_TO_STORAGE` is false: alerts are posted whose maps and contours the website will not find",
    );
    say(source != "fs" && set("STORAGE_FOLDER"), "`STORAGE_FOLDER` is set, but `STORAGE_BUCKET_SOURCE` is not `fs`");
    say(source != "s3" && set("AWS_BUCKET"), "`AWS_BUCKET` is set, but `STORAGE_BUCKET_SOURCE` is not `s3`");
    let fetches = |name: &str| set(name) && !is(name, &["none"]);
    say(set("FERMI_TLE_FILE") && fetches("FERMI_TLE_URL"), "`FERMI_TLE_FILE` goes before `FERMI_TLE_URL`: set one");
    say(set("FERMI_FT2_DIR") && fetches("FERMI_FT2_URL"), "`FERMI_FT2_DIR` goes before `FERMI_FT2_URL`: set one");
    say(
        set("SWIFT_POINTING_FILE") && fetches("SWIFT_POINTING_URL"),
        "`SWIFT_POINTING_FILE` goes before `SWIFT_POINTING_URL`: set one",
    );
    say(yes("VERBOSE") && set("LOG_LEVEL"), "`LOG_LEVEL` goes before `VERBOSE`: set one");
    say(
        set("KAFKA_BOOTSTRAP") && set("GCN_DOMAIN"),
        "`KAFKA_BOOTSTRAP` names the broker, `GCN_DOMAIN` only where tokens come from",
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_shown_without_secrets() {
        let given = |name: &str| {
            let value = match name {
                "API_BASE" => "https://user:hidden@example.org/api/v1/?x=hidden",
                "API_TOKEN" | "KAFKA_CLIENT_SECRET" => "hidden",
                "NOTIFY_CONFIG" => "[[rule]]\nname = \"hidden\"\ntarget = []",
                "DRY_RUN" => "true",
                "STORAGE_BUCKET_SOURCE" => " ",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let survey = survey_of(&given);
        assert!(!format!("{survey:?}").contains("https://user"), "{survey:?}");
        let value =
            |name: &str| survey.settings.iter().find(|found| found.setting.name == name).expect(name).value.clone();
        assert_eq!(value("API_BASE").as_deref(), Some("https://example.org/api/v1/"));
        assert_eq!((value("API_TOKEN").as_deref(), value("STORAGE_BUCKET_SOURCE")), (Some("***"), None));
        assert!(survey.problems.iter().any(|problem| problem.contains("NOTIFY_CONFIG")), "{survey:?}");
        assert!(survey.problems.iter().any(|problem| problem.contains("KAFKA_CLIENT_ID")), "{survey:?}");
        assert!(survey.contradictions.iter().any(|text| text.contains("DRY_RUN")), "{survey:?}");
        let nothing = survey_of(&|_| None);
        assert!(nothing.problems.is_empty() && nothing.contradictions.is_empty(), "{nothing:?}");
        assert_eq!(nothing.settings.len(), settings().count() + KAFKA_SETTINGS.len());
    }
}
