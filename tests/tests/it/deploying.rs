//! Deployment files agree with the programs: the settings of the image.

use std::fs;
use std::path::Path;

use shared::ranking::Settings;
use tests::program::workspace;

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(Path::new(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn image_has_the_default_catalogue_settings() {
    let (settings, catalogue) = Settings::from_ini(&text("infra/gal_catalog_config.ini")).expect("settings");
    assert_eq!(settings, Settings::default());
    assert_eq!(catalogue, None, "operators name the catalogue");
}
