//! The files that people start from agree with the programs: the environment of compose, the settings of the image.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use config::KAFKA_SETTINGS;
use shared::ranking::Settings;
use tests::program::workspace;

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(Path::new(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn env_example_has_every_setting_of_a_listener_and_no_secret() {
    let of_a_listener = |name: &&str| !name.contains("FLOW");
    let documented: BTreeSet<&str> =
        config::settings().chain(KAFKA_SETTINGS).map(|setting| setting.name).filter(of_a_listener).collect();
    let example = text(".env.example");
    let lines = example.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let entries: Vec<(&str, &str)> =
        lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once('=')).collect();
    let found: BTreeSet<&str> = entries.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.len(), entries.len(), "a setting is there twice");
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (documented.difference(&found).collect(), found.difference(&documented).collect());
    assert!(missing.is_empty() && unknown.is_empty(), ".env.example: missing {missing:?}, unknown {unknown:?}");
    for (name, value) in entries {
        let secret = ["SECRET", "PASSWORD", "TOKEN", "KEY"].iter().any(|word| name.contains(word));
        assert!(!secret || value.is_empty(), ".env.example: {name} is a secret, expected no value, found `{value}`");
    }
}

#[test]
fn the_images_catalogue_settings_are_the_defaults() {
    let (settings, catalogue) = Settings::from_ini(&text("infra/gal_catalog_config.ini")).expect("settings");
    assert_eq!(settings, Settings::default());
    assert_eq!(catalogue, None, "operators name the catalogue");
}
