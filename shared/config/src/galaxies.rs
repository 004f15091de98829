//! The galaxy catalogue, how galaxies are ranked, and where their lists go.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use shared::ranking;
use shared::settings::Reader;

/// The galaxy catalogue and lists.
#[derive(Debug, Clone, PartialEq)]
pub struct GalaxySettings {
    /// A file, or an object under `galaxy_catalog/`.
    pub catalog: Option<String>,
    /// How galaxies are chosen and ranked.
    pub settings: ranking::Settings,
    /// The group that posts the lists.
    pub groupname: String,
    /// The reference on the lists.
    pub reference: String,
    /// Whether the server is asked for a DOI.
    pub request_doi: bool,
    /// Whether a retraction removes the superevent's lists.
    pub remove_on_retraction: bool,
    /// Whether the lists of mock alerts are posted.
    pub mocks: bool,
}

impl GalaxySettings {
    pub(super) fn settings(settings: &mut Reader<'_>) -> Self {
        let (ranking, catalog) = ranking(settings);
        GalaxySettings {
            catalog,
            settings: ranking,
            groupname: settings.text("GALAXY_GROUPNAME").unwrap_or_default(),
            reference: settings.text("GALAXY_REFERENCE").unwrap_or_default(),
            request_doi: settings.flag("GALAXY_REQUEST_DOI"),
            remove_on_retraction: settings.flag("GALAXY_REMOVE_ON_RETRACTION"),
            mocks: settings.flag("GALAXY_MOCKS"),
        }
    }
}

/// How galaxies are ranked, and their catalogue: CATALOG_PATH, or what the INI file says of it.
fn ranking(settings: &mut Reader<'_>) -> (ranking::Settings, Option<String>) {
    let name = "PATH_TO_GALAXY_CATALOG_CONFIG";
    let catalog = settings.text("CATALOG_PATH");
    let Some(path) = settings.text(name).map(PathBuf::from) else { return (ranking::Settings::default(), catalog) };
    let shown = path.display();
    let problem = match std::fs::read_to_string(&path) {
        Ok(text) => match ranking::Settings::from_ini(&text) {
            Ok((ranking, from_ini)) => {
                return (ranking, catalog.or_else(|| from_ini.map(|catalog| beside(&path, catalog))));
            }
            Err(error) => error.to_string(),
        },
        // The older listeners' chart always names one, and they go on without it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let lists = if catalog.is_some() { "" } else { ", and without CATALOG_PATH there are no galaxy lists" };
            settings.warnings.push(format!("`{name}`: file `{shown}` is not there: the defaults hold{lists}"));
            return (ranking::Settings::default(), catalog);
        }
        Err(error) => error.to_string(),
    };
    settings.problems.push(format!("`{name}`: file `{shown}`: {problem}"));
    (ranking::Settings::default(), catalog)
}

/// A path of an INI file, which is relative to this process or else to the file; an object of the store stays as it is.
fn beside(ini: &Path, path: String) -> String {
    let near = ini.with_file_name(&path);
    if Path::new(&path).exists() || !near.exists() { path } else { near.display().to_string() }
}
