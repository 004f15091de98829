//! Every setting, read once, documented once.
//!
//! Settings come from the environment, under the names operators of the older listeners already use. What is missing
//! or malformed is reported together, each with what it is for.

mod kafka;
mod lambda;
mod log;
mod notify;
mod storage;
mod survey;
mod systemd;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use kafka::{
    Bridge, Certificate, Flows, Health, Kafka, Listen, Login, Mechanism, OffsetReset, SETTINGS as KAFKA_SETTINGS,
};
pub use lambda::{SETTINGS as LAMBDA_SETTINGS, parse_settings, settings_object, settings_secrets};
pub use log::{CRATES, Log, LogFormat};
pub use notify::{Notify, Rule, Target};
use shared::ranking;
use shared::{Error, Result, Secret};
pub use storage::{location, store_settings};
use store::{Location, Store};
pub use survey::{Survey, Surveyed, survey};
pub use systemd::Systemd;

/// A setting, declared once: what is read, documented, shown and kept secret follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// What holds when it is not set: a value, or a description such as `required with API_BASE`.
    pub default: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether `default` is a value.
    has_value: bool,
    is_secret: bool,
}

/// A setting without a default value; `default` describes what holds then.
const fn setting(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { name, default, purpose, has_value: false, is_secret: false }
}

/// A setting whose default is a value.
const fn defaulted(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { has_value: true, ..setting(name, default, purpose) }
}

/// A setting that holds a secret, or may: no other program gets it.
const fn secret(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { is_secret: true, ..setting(name, default, purpose) }
}

/// Every setting of every program.
fn all_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(KAFKA_SETTINGS).chain(LAMBDA_SETTINGS)
}

/// The names of the settings that hold secrets, or may.
pub fn secrets() -> impl Iterator<Item = &'static str> {
    all_settings().filter(|setting| setting.is_secret).map(|setting| setting.name)
}

/// Every setting that [`Config`] reads.
pub const SETTINGS: &[Setting] = &[
    defaulted(
        "STORAGE_BUCKET_SOURCE",
        "fs",
        "where objects are kept: `fs` (a folder), `s3`, `abfs` (Azure) or `swift`",
    ),
    defaulted("STORAGE_FOLDER", "gwtm-data", "the folder, with `fs`"),
    defaulted("AWS_BUCKET", "gwtreasuremap", "the bucket, with `s3`"),
    defaulted("AWS_DEFAULT_REGION", "us-east-2", "the bucket's region, with `s3`"),
    setting("AWS_ENDPOINT_URL", "AWS itself", "another S3 server, addressed path-style"),
    secret("AWS_ACCESS_KEY_ID", "a profile or role", "the access key, with `s3`"),
    secret("AWS_SECRET_ACCESS_KEY", "a profile or role", "its secret"),
    secret("AWS_SESSION_TOKEN", "none", "the session's token, with an access key that a role was given"),
    setting("AZURE_ACCOUNT_NAME", "required with `abfs`", "the storage account"),
    secret("AZURE_ACCOUNT_KEY", "required with `abfs`", "the storage account's key"),
    setting(
        "AZURE_STORAGE_ENDPOINT",
        "Azure itself",
        "another address of the account, `http://127.0.0.1:10000/ACCOUNT`",
    ),
    setting("OS_AUTH_URL", "required with `swift`", "where Keystone v3 gives tokens, with or without `/v3`"),
    setting(
        "OS_USERNAME",
        "required with `swift`",
        "the user, or the 32 hexadecimal digits of an application credential",
    ),
    secret("OS_PASSWORD", "required with `swift`", "the user's password, or the credential's secret"),
    setting("OS_PROJECT_NAME", "required with a user", "the project that is logged in to"),
    defaulted("OS_USER_DOMAIN_NAME", "Default", "the user's domain"),
    defaulted("OS_PROJECT_DOMAIN_NAME", "Default", "the project's domain"),
    defaulted("OS_CONTAINER_NAME", "gwtreasuremap", "the container, with `swift`"),
    setting(
        "OS_STORAGE_URL",
        "Keystone's catalogue",
        "the account's address in Swift, or Swift's (`…/v1`); required with an application credential",
    ),
    defaulted("WRITE_TO_STORAGE", "true", "`false` posts without storing anything"),
    defaulted("DRY_RUN", "false", "`true` writes nothing and calls no API; what would be done is printed"),
    setting("API_BASE", "nothing is posted", "the GWTM API, `https://…/api/v1/` (or `/api/v0/`)"),
    secret("API_TOKEN", "required with API_BASE", "the token of a GWTM administrator"),
    defaulted("API_TIMEOUT_SECONDS", "30", "how long an answer of the GWTM may take, 0.1 to 30"),
    defaulted(
        "API_SETTLE_SECONDS",
        "600",
        "how long a POST that got no answer is looked for before it is made again: longer than any process of the GWTM is \
         ever busy",
    ),
    defaulted("OBSERVING_RUN", "O4", "the run's label on posted alerts; the website shows the current run's"),
    defaulted(
        "GRACEDB_URL",
        "https://gracedb.ligo.org",
        "where `skymap_fits_url` is looked for, and where `gwtm gracedb` takes alerts from",
    ),
    defaulted(
        "FLAT_MAX_ORDER",
        "10",
        "finest HEALPix order of the flat map, 0 to 13; a coarser map is written at 9; `none` makes none",
    ),
    defaulted(
        "FERMI_TLE_URL",
        "https://celestrak.org/NORAD/elements/gp.php?CATNR=33053&FORMAT=TLE",
        "where Fermi's orbit is fetched; `none` fetches none",
    ),
    setting("FERMI_TLE_FILE", "none", "a file with Fermi's TLE, instead of fetching it"),
    defaulted("FERMI_TLE_MAX_AGE_DAYS", "14", "how far a TLE's epoch may lie from the event"),
    defaulted(
        "FERMI_FT2_URL",
        "https://fermi.gsfc.nasa.gov/ssc/observations/timeline/ft2/files/",
        "the listing of Fermi's weekly spacecraft files; `none` fetches none",
    ),
    setting("FERMI_FT2_DIR", "none", "a folder with such files, instead of fetching them"),
    setting(
        "SWIFT_POINTING_FILE",
        "no BAT products",
        "Swift's pointings, `start,end,ra,dec,roll` a row: a file, or an object under `swift/`",
    ),
    setting(
        "CATALOG_PATH",
        "the INI file's, else no galaxy lists",
        "the galaxy catalogue: a file, or an object under `galaxy_catalog/`",
    ),
    setting(
        "PATH_TO_GALAXY_CATALOG_CONFIG",
        "the defaults",
        "`gal_catalog_config.ini` with a `[GALAXIES]` section; one that is not there is a warning",
    ),
    defaulted("GALAXY_GROUPNAME", "LCOGT", "the group under which galaxy lists are posted"),
    defaulted(
        "GALAXY_REFERENCE",
        "https://ui.adsabs.harvard.edu/abs/2017ApJ...848L..33A/abstract",
        "the reference on galaxy lists",
    ),
    defaulted("GALAXY_REQUEST_DOI", "false", "`true` asks the server for a DOI per list"),
    defaulted(
        "GALAXY_REMOVE_ON_RETRACTION",
        "false",
        "`true` removes a superevent's galaxy lists from the GWTM when it is retracted",
    ),
    defaulted(
        "GALAXY_MOCKS",
        "false",
        "`true` posts the galaxy lists of mock alerts too, which the GWTM never removes",
    ),
    secret("NOTIFY_CONFIG", "nobody is told", "rules of who is told of which alerts: a TOML file, or the TOML itself"),
    defaulted("LOG_FORMAT", "text", "`json` for machines"),
    setting("LOG_LEVEL", "info; `gwtm run` warn", "error, warn, info, debug or trace, or tracing directives"),
    defaulted("VERBOSE", "false", "`true` is LOG_LEVEL=debug: each function, object and answer of the API"),
];

/// Every setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where objects are kept.
    pub storage: Location,
    /// Whether objects are written.
    pub write_to_storage: bool,
    /// Whether nothing is written and no API called.
    pub dry_run: bool,
    /// The GWTM API; without it nothing is posted.
    pub api: Option<Api>,
    /// The run's label on posted alerts.
    pub observing_run: String,
    /// GraceDB, without a slash at the end.
    pub gracedb_url: String,
    /// Finest HEALPix order of the flat map; none makes none.
    pub flat_max_order: Option<u8>,
    /// Where Fermi's orbit and pointing come from.
    pub fermi: Fermi,
    /// Swift's pointings: a file, or an object of the store.
    pub swift_pointing_file: Option<String>,
    /// The galaxy catalogue and lists.
    pub galaxies: Galaxies,
    /// Who is told of which alerts.
    pub notify: Notify,
    /// What is logged, and how.
    pub log: Log,
}

/// The GWTM API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Its address, ending with a slash.
    pub base: String,
    /// An administrator's token.
    pub token: Secret,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a POST that got no answer is looked for before it is made again.
    pub settle: Duration,
}

/// Where Fermi's orbit and pointing come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Fermi {
    /// Where its TLE is fetched.
    pub tle_url: Option<String>,
    /// A file with its TLE, instead.
    pub tle_file: Option<PathBuf>,
    /// How far a TLE's epoch may lie from the event [days].
    pub tle_max_age_days: f64,
    /// The listing of weekly spacecraft files.
    pub ft2_url: Option<String>,
    /// A folder with such files, instead.
    pub ft2_dir: Option<PathBuf>,
}

/// The galaxy catalogue and lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Galaxies {
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

impl Config {
    /// Reads the environment; `overrides` (a command line's options) go before it.
    ///
    /// # Errors
    /// Permanent, naming every setting that is missing or malformed.
    pub fn from_env(overrides: &[(&str, String)]) -> Result<Self> {
        Self::read(&environment(overrides))
    }

    /// Reads settings from anywhere; an empty value is an unset one.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Reader::new(get);
        let config = Self::settings(&mut settings);
        settings.finish(config)
    }

    fn settings(settings: &mut Reader<'_>) -> Self {
        let dry_run = settings.flag("DRY_RUN");
        let (ranking, catalog) = settings.ranking();
        Config {
            storage: settings.storage(),
            write_to_storage: settings.flag("WRITE_TO_STORAGE"),
            dry_run,
            api: settings.api(dry_run),
            observing_run: settings.text("OBSERVING_RUN").unwrap_or_default(),
            gracedb_url: settings.url("GRACEDB_URL").trim_end_matches('/').to_owned(),
            flat_max_order: match settings.text("FLAT_MAX_ORDER").as_deref() {
                Some("none") => None,
                _ => Some(settings.number("FLAT_MAX_ORDER", 0..=13)),
            },
            fermi: Fermi {
                tle_url: settings.url_or_none("FERMI_TLE_URL"),
                tle_file: settings.text("FERMI_TLE_FILE").map(PathBuf::from),
                tle_max_age_days: settings.number("FERMI_TLE_MAX_AGE_DAYS", 0.0..=365.0),
                ft2_url: settings.url_or_none("FERMI_FT2_URL"),
                ft2_dir: settings.text("FERMI_FT2_DIR").map(PathBuf::from),
            },
            swift_pointing_file: settings.text("SWIFT_POINTING_FILE"),
            galaxies: Galaxies {
                catalog,
                settings: ranking,
                groupname: settings.text("GALAXY_GROUPNAME").unwrap_or_default(),
                reference: settings.text("GALAXY_REFERENCE").unwrap_or_default(),
                request_doi: settings.flag("GALAXY_REQUEST_DOI"),
                remove_on_retraction: settings.flag("GALAXY_REMOVE_ON_RETRACTION"),
                mocks: settings.flag("GALAXY_MOCKS"),
            },
            notify: settings.notify(),
            log: settings.log(),
        }
    }

    /// Opens the store; it is not written when DRY_RUN or WRITE_TO_STORAGE say so.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_store(&self) -> Result<Store> {
        let store = Store::open(&self.storage).await?;
        Ok(if self.dry_run || !self.write_to_storage { store.without_writing() } else { store })
    }
}

/// The environment, behind what overrides it.
fn environment(overrides: &[(&str, String)]) -> impl Fn(&str) -> Option<String> {
    |name| match overrides.iter().find(|(given, _)| *given == name) {
        Some((_, value)) => Some(value.clone()),
        None => std::env::var(name).ok(),
    }
}

/// A path of an INI file, which is relative to this process or else to the file; an object of the store stays as it is.
fn beside(ini: &Path, path: String) -> String {
    let near = ini.with_file_name(&path);
    if Path::new(&path).exists() || !near.exists() { path } else { near.display().to_string() }
}

/// Reads settings one by one and keeps what is wrong with them.
struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    /// What stops the program.
    problems: Vec<String>,
    /// What does not, and an operator should know.
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Reader { get, problems: Vec::new(), warnings: Vec::new() }
    }
}

impl Reader<'_> {
    /// What is set, or else the default value that is declared.
    fn text(&self, name: &str) -> Option<String> {
        let set = (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let declared = || all_settings().find(|setting| setting.name == name && setting.has_value);
        set.or_else(|| declared().map(|setting| setting.default.to_owned()))
    }

    fn problem(&mut self, name: &str, expected: &str, found: &str) {
        let found: String = found.chars().take(60).collect();
        self.problems.push(format!("`{name}`: expected {expected}, found `{}`", found.escape_default()));
    }

    fn flag(&mut self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.problem(name, "`true` or `false`", &text);
                false
            }
        }
    }

    fn number<T>(&mut self, name: &str, range: std::ops::RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let text = self.text(name).unwrap_or_default();
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.problem(name, &format!("a number from {} to {}", range.start(), range.end()), &text);
                *range.start()
            }
        }
    }

    fn one_of(&mut self, name: &str, words: &[&str]) -> String {
        self.one_of_or(name, words, "")
    }

    /// One of some words, with a default that follows from other settings.
    fn one_of_or(&mut self, name: &str, words: &[&str], default: &str) -> String {
        let text = self.text(name).unwrap_or_else(|| default.to_owned()).to_ascii_lowercase();
        if !words.contains(&text.as_str()) {
            self.problem(name, &format!("one of `{}`", words.join("`, `")), &text);
        }
        text
    }

    fn url(&mut self, name: &str) -> String {
        self.url_or(name, "")
    }

    /// An address, with a default that follows from other settings.
    fn url_or(&mut self, name: &str, default: &str) -> String {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        if !text.starts_with("https://") && !text.starts_with("http://") {
            // The value may hold a password: say what was expected, not what was found.
            self.problems.push(format!("`{name}`: expected an address starting with `https://` or `http://`"));
        }
        text
    }

    /// An address, or `none`, which turns its source off.
    fn url_or_none(&mut self, name: &str) -> Option<String> {
        let is_none = self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("none"));
        (!is_none).then(|| self.url(name))
    }

    fn api(&mut self, dry_run: bool) -> Option<Api> {
        self.text("API_BASE").filter(|_| !dry_run)?;
        let mut base = self.url("API_BASE");
        if !base.ends_with('/') {
            base.push('/');
        }
        let token = self.text("API_TOKEN");
        if token.is_none() {
            self.problems.push("`API_TOKEN`: required with API_BASE: the token of a GWTM administrator".to_owned());
        }
        let timeout = Duration::from_secs_f64(self.number("API_TIMEOUT_SECONDS", 0.1..=30.0));
        let settle = Duration::from_secs_f64(self.number("API_SETTLE_SECONDS", 0.0..=86_400.0));
        Some(Api { base, token: Secret::new(token.unwrap_or_default()), timeout, settle })
    }

    /// How galaxies are ranked, and their catalogue: CATALOG_PATH, or what the INI file says of it.
    fn ranking(&mut self) -> (ranking::Settings, Option<String>) {
        let name = "PATH_TO_GALAXY_CATALOG_CONFIG";
        let catalog = self.text("CATALOG_PATH");
        let Some(path) = self.text(name) else { return (ranking::Settings::default(), catalog) };
        let path = PathBuf::from(path);
        let shown = path.display();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // The older listeners' chart always names one, and they go on without it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let lists = if catalog.is_some() { "" } else { ", and without CATALOG_PATH there are no galaxy lists" };
                self.warnings.push(format!("`{name}`: file `{shown}` is not there: the defaults hold{lists}"));
                return (ranking::Settings::default(), catalog);
            }
            Err(error) => {
                self.problems.push(format!("`{name}`: file `{shown}`: {error}"));
                return (ranking::Settings::default(), catalog);
            }
        };
        match ranking::Settings::from_ini(&text) {
            Ok((settings, from_ini)) => (settings, catalog.or_else(|| from_ini.map(|catalog| beside(&path, catalog)))),
            Err(error) => {
                self.problems.push(format!("`{name}`: file `{shown}`: {error}"));
                (ranking::Settings::default(), catalog)
            }
        }
    }

    fn notify(&mut self) -> Notify {
        let name = "NOTIFY_CONFIG";
        let Some(text) = self.text(name) else { return Notify::default() };
        // A file's name has neither; rules have both.
        let (from, rules) = if text.contains("[[") && text.contains('=') {
            (String::new(), Ok(text))
        } else {
            (
                format!("file `{text}`: "),
                std::fs::read_to_string(&text).map_err(|error| error.to_string().to_lowercase()),
            )
        };
        match rules.and_then(|rules| Notify::from_toml(&rules).map_err(|error| error.to_string())) {
            Ok(notify) => notify,
            Err(error) => {
                self.problems.push(format!("`{name}`: {from}{error}"));
                Notify::default()
            }
        }
    }

    fn log(&mut self) -> Log {
        let format = match self.text("LOG_FORMAT").map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                let other = other.to_owned();
                self.problem("LOG_FORMAT", "`text` or `json`", &other);
                LogFormat::Text
            }
        };
        let verbose = self.flag("VERBOSE");
        let level = self.text("LOG_LEVEL").or_else(|| verbose.then(|| "debug".to_owned()));
        if let Some(Err(error)) = level.as_deref().map(log::directives) {
            self.problems.push(format!("`LOG_LEVEL`: expected a level or tracing directives: {error}"));
        }
        Log { format, level, warnings: std::mem::take(&mut self.warnings) }
    }

    fn finish<T>(self, config: T) -> Result<T> {
        match self.problems.as_slice() {
            [] => Ok(config),
            [one] => Err(Error::permanent(format!("setting {one}"))),
            many => Err(Error::permanent(format!("{} settings: {}", many.len(), many.join("; ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config> {
        let find = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Config::read(&find)
    }

    #[test]
    fn nothing_set_is_a_folder_and_no_posts() {
        let config = read(&[]).expect("defaults");
        assert_eq!(config.storage, Location::Folder("gwtm-data".into()));
        assert_eq!(config.api, None);
        assert!(config.write_to_storage && !config.dry_run);
    }

    #[test]
    fn problems_are_reported_together_and_secrets_never() {
        let error = read(&[
            ("API_BASE", "treasuremap.space"),
            ("DRY_RUN", "perhaps"),
            ("FLAT_MAX_ORDER", "99"),
            ("STORAGE_BUCKET_SOURCE", "floppy"),
        ])
        .expect_err("four problems")
        .to_string();
        for name in ["API_BASE", "API_TOKEN", "DRY_RUN", "FLAT_MAX_ORDER", "STORAGE_BUCKET_SOURCE"] {
            assert!(error.contains(name), "{name}: {error}");
        }
        let config = read(&[("API_BASE", "https://example.org/api/v1"), ("API_TOKEN", "hunter2")]).expect("an API");
        let api = config.api.clone().expect("an API");
        assert_eq!((api.base.as_str(), api.token.reveal()), ("https://example.org/api/v1/", "hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_dry_run_has_no_api() {
        let config = read(&[("API_BASE", "https://example.org/"), ("DRY_RUN", "1")]).expect("a dry run");
        assert_eq!(config.api, None);
    }

    #[test]
    fn every_default_value_is_valid() {
        let values = all_settings().filter(|setting| setting.has_value);
        let written: Vec<(&str, &str)> = values.map(|setting| (setting.name, setting.default)).collect();
        assert!(written.len() > 20, "{written:?}");
        assert_eq!(read(&written).expect("the defaults"), read(&[]).expect("nothing"));
    }

    #[test]
    fn secrets_are_declared() {
        let named: Vec<&str> = secrets().collect();
        for part in ["TOKEN", "SECRET", "PASSWORD", "ACCOUNT_KEY", "ACCESS_KEY"] {
            let holds = |setting: &&Setting| setting.name.contains(part) && !setting.name.ends_with("_URL");
            for setting in SETTINGS.iter().chain(KAFKA_SETTINGS).filter(holds) {
                assert!(named.contains(&setting.name), "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_setting_that_is_read_is_documented() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        for source in ["fs", "s3", "abfs", "swift"] {
            // Nothing else is set, so that every default is asked for.
            let get = |name: &str| {
                asked.borrow_mut().insert(name.to_owned());
                match name {
                    "STORAGE_BUCKET_SOURCE" => Some(source.to_owned()),
                    "API_BASE" => Some("https://example.org/".to_owned()),
                    "API_TOKEN" => Some("x".to_owned()),
                    _ => None,
                }
            };
            // What a back end requires is missing, and all of it has been asked for.
            let _ = Config::read(&get);
        }
        let documented = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
        assert_eq!(asked.into_inner(), documented);
    }
}
