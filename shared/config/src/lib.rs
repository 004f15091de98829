//! Every setting, read once, documented once.
//!
//! Settings come from the environment, under the names operators of the older listeners already use. What is missing
//! or malformed is reported together, each with what it is for.

mod email;
mod galaxies;
mod kafka;
mod lambda;
mod listen;
mod log;
mod notify;
mod storage;
mod survey;
mod systemd;
mod voevent;

use std::path::PathBuf;
use std::time::Duration;

pub use email::{Email, Security};
pub use galaxies::GalaxySettings;
pub use kafka::{Certificate, Kafka, Login, Mechanism, OffsetReset, SETTINGS as KAFKA_SETTINGS};
pub use lambda::{SETTINGS as LAMBDA_SETTINGS, parse_settings, settings_object, settings_secrets};
pub use listen::{Bridge, FlowArns, HealthSettings, Listen, ligo_flow};
pub use log::{CRATES, Log, LogFormat};
pub use notify::{Notify, ProbWithin, Rule, Target, tcp_address};
pub use shared::settings::Setting;
use shared::settings::{Reader, defaulted, secret, setting};
use shared::{Result, Secret};
pub use storage::{bucket, location};
use store::{Location, Store};
pub use survey::{Survey, Surveyed, survey};
pub use systemd::Systemd;

/// Every setting that [`Config`] reads.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    store::settings().chain(SETTINGS)
}

/// Every setting of every program.
fn all_settings() -> impl Iterator<Item = &'static Setting> {
    settings().chain(KAFKA_SETTINGS).chain(LAMBDA_SETTINGS)
}

/// Reads the settings of every program.
fn reader(get: &dyn Fn(&str) -> Option<String>) -> Reader<'_> {
    Reader::new(get, &|name| {
        all_settings().find(|setting| setting.name == name && setting.has_value).map(|setting| setting.default)
    })
}

/// The names of the settings that hold secrets, or may.
pub fn secrets() -> impl Iterator<Item = &'static str> {
    all_settings().filter(|setting| setting.is_secret).map(|setting| setting.name)
}

/// Every setting that [`Config`] reads beside those of the store.
const SETTINGS: &[Setting] = &[
    defaulted("WRITE_TO_STORAGE", "true", "`false` posts without writing to the store"),
    defaulted("DRY_RUN", "false", "`true` writes nothing, calls no API, and prints the planned actions"),
    setting("API_BASE", "nothing is posted", "URL of the GWTM API, `https://…/api/v1/` (or `/api/v0/`)"),
    secret("API_TOKEN", "required with API_BASE", "token of a GWTM administrator"),
    defaulted("API_TIMEOUT_SECONDS", "30", "timeout of a GWTM request, 0.1 to 30"),
    defaulted(
        "API_SETTLE_SECONDS",
        "600",
        "how long to look for the row of a POST without an answer before posting again; longer than a GWTM process is ever blocked",
    ),
    defaulted(
        "TEST_ALERTS",
        "true",
        "`false` archives the notices of mock and test alerts without processing them; they still count for health",
    ),
    defaulted("OBSERVING_RUN", "O4", "observing run of posted alerts; the website shows the current run"),
    defaulted(
        "GRACEDB_URL",
        "https://gracedb.ligo.org",
        "where `skymap_fits_url` is looked for, and where `gwtm gracedb` and `gwtm audit` take alerts from",
    ),
    defaulted("AUDIT_INTERVAL_MINUTES", "60", "interval of the audit in `gwtm listen`, 0 to 1440; 0 disables it"),
    defaulted("AUDIT_REPAIR", "false", "`true` processes alerts that a background audit finds missing"),
    defaulted(
        "FLAT_MAX_ORDER",
        "10",
        "finest HEALPix order of the flat map, 0 to 13; coarser maps are written at order 9; `none` disables flat maps",
    ),
    defaulted(
        "FERMI_TLE_URL",
        "https://celestrak.org/NORAD/elements/gp.php?CATNR=33053&FORMAT=TLE",
        "URL of Fermi's TLE; `none` disables the download",
    ),
    setting("FERMI_TLE_FILE", "none", "file with Fermi's TLE, instead of the download"),
    defaulted("FERMI_TLE_MAX_AGE_DAYS", "14", "maximum time between the TLE's epoch and the event [days]"),
    defaulted(
        "FERMI_FT2_URL",
        "https://fermi.gsfc.nasa.gov/ssc/observations/timeline/ft2/files/",
        "URL of the listing of Fermi's weekly spacecraft files; `none` disables the download",
    ),
    setting("FERMI_FT2_DIR", "none", "folder with such files, instead of the download"),
    defaulted(
        "SWIFT_POINTING_URL",
        "https://www.swift.psu.edu/api/v2",
        "URL of the service with Swift's timelines, as flown and as planned; `none` disables the download",
    ),
    setting(
        "SWIFT_POINTING_FILE",
        "none",
        "CSV of Swift's pointings, `start,end,ra,dec,roll`, instead of the download: a file, or an object under `swift/`",
    ),
    setting(
        "CATALOG_PATH",
        "from the INI file; otherwise no galaxy lists",
        "galaxy catalogue: a file, or an object under `galaxy_catalog/`",
    ),
    setting(
        "PATH_TO_GALAXY_CATALOG_CONFIG",
        "the defaults",
        "`gal_catalog_config.ini` with a `[GALAXIES]` section; a missing file is a warning",
    ),
    defaulted("GALAXY_GROUPNAME", "LCOGT", "group of the posted galaxy lists"),
    defaulted(
        "GALAXY_REFERENCE",
        "https://ui.adsabs.harvard.edu/abs/2017ApJ...848L..33A/abstract",
        "reference of the posted galaxy lists",
    ),
    defaulted("GALAXY_REQUEST_DOI", "false", "`true` requests a DOI for each list"),
    defaulted(
        "GALAXY_REMOVE_ON_RETRACTION",
        "false",
        "`true` removes the galaxy lists of a retracted superevent from the GWTM",
    ),
    defaulted("GALAXY_MOCKS", "false", "`true` posts galaxy lists of mock alerts, which the GWTM never removes"),
    defaulted(
        "VOEVENT_STREAM",
        "ivo://treasure-map-functions/lvk",
        "author and stream of the VOEvents: an IVOA identifier, `ivo://AUTHORITY/STREAM`; `none` disables VOEvents",
    ),
    setting(
        "OBJECTS_URL",
        "no links; of the map the URL that was posted",
        "URL below which others can read the store, `URL/fit/…_moc.fits.gz`: links in mails, and sky maps in VOEvents",
    ),
    secret("NOTIFY_CONFIG", "no notifications", "notification rules: a TOML file, or the TOML itself"),
    defaulted("LOG_FORMAT", "text", "`text` or `json`"),
    setting("LOG_LEVEL", "info; `gwtm run` warn", "error, warn, info, debug or trace, or tracing directives"),
    defaulted("VERBOSE", "false", "`true` sets LOG_LEVEL=debug: logs each function, object and API response"),
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
    /// Whether mock and test alerts are processed.
    pub test_alerts: bool,
    /// The run's label on posted alerts.
    pub observing_run: String,
    /// GraceDB, without a slash at the end.
    pub gracedb_url: String,
    /// The audit in the background.
    pub audit: AuditSettings,
    /// Finest HEALPix order of the flat map; none makes none.
    pub flat_max_order: Option<u8>,
    /// Where Fermi's orbit and pointing come from.
    pub fermi: Fermi,
    /// Where Swift's pointing comes from.
    pub swift: SwiftPointing,
    /// The galaxy catalogue and lists.
    pub galaxies: GalaxySettings,
    /// Author and stream of the VOEvents, an IVOA identifier; none are made without.
    pub voevent_stream: Option<String>,
    /// URL below which others can read the store's objects, without a slash at the end.
    pub objects_url: Option<String>,
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

impl Api {
    fn settings(settings: &mut Reader<'_>, dry_run: bool) -> Option<Self> {
        settings.text("API_BASE").filter(|_| !dry_run)?;
        let mut base = settings.url("API_BASE");
        if !base.ends_with('/') {
            base.push('/');
        }
        let token = settings.text("API_TOKEN");
        if token.is_none() {
            settings.problems.push("`API_TOKEN`: required with API_BASE: the token of a GWTM administrator".to_owned());
        }
        let timeout = Duration::from_secs_f64(settings.number("API_TIMEOUT_SECONDS", 0.1..=30.0));
        let settle = Duration::from_secs_f64(settings.number("API_SETTLE_SECONDS", 0.0..=86_400.0));
        Some(Api { base, token: Secret::new(token.unwrap_or_default()), timeout, settle })
    }
}

/// The audit in the background: that of `gwtm listen`, and of the function on a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// How often a listener audits; none never.
    pub interval: Option<Duration>,
    /// Whether what is missing is taken through its flow.
    pub repair: bool,
}

/// Where Fermi's orbit and pointing come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Fermi {
    /// Where its TLE is fetched.
    pub tle_url: Option<String>,
    /// A file with its TLE, instead.
    pub tle_file: Option<PathBuf>,
    /// How far a TLE's epoch may lie from the event \[days\].
    pub tle_max_age_days: f64,
    /// The listing of weekly spacecraft files.
    pub ft2_url: Option<String>,
    /// A folder with such files, instead.
    pub ft2_dir: Option<PathBuf>,
}

/// Where Swift's pointing comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwiftPointing {
    /// The service with its timelines.
    pub pointing_url: Option<String>,
    /// Its pointings, instead: a file, or an object of the store.
    pub pointing_file: Option<String>,
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
        let mut settings = reader(get);
        let config = Self::settings(&mut settings);
        settings.finish(config)
    }

    fn settings(settings: &mut Reader<'_>) -> Self {
        let dry_run = settings.flag("DRY_RUN");
        Config {
            storage: Location::read(settings),
            write_to_storage: settings.flag("WRITE_TO_STORAGE"),
            dry_run,
            api: Api::settings(settings, dry_run),
            test_alerts: settings.flag("TEST_ALERTS"),
            observing_run: settings.text("OBSERVING_RUN").unwrap_or_default(),
            gracedb_url: settings.url("GRACEDB_URL").trim_end_matches('/').to_owned(),
            audit: AuditSettings {
                interval: Some(Duration::from_secs_f64(60.0 * settings.number("AUDIT_INTERVAL_MINUTES", 0.0..=1440.0)))
                    .filter(|interval| !interval.is_zero()),
                repair: settings.flag("AUDIT_REPAIR"),
            },
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
            swift: SwiftPointing {
                pointing_url: settings.url_or_none("SWIFT_POINTING_URL"),
                pointing_file: settings.text("SWIFT_POINTING_FILE"),
            },
            galaxies: GalaxySettings::settings(settings),
            voevent_stream: voevent::stream(settings),
            objects_url: settings.optional_url("OBJECTS_URL"),
            notify: Notify::settings(settings),
            log: Log::settings(settings),
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
        assert_eq!(config.storage, Location::from_settings(&|_| None).expect("a folder"));
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
            let holds = |setting: &&Setting| {
                setting.name.contains(part) && !setting.name.ends_with("_URL") && !setting.name.ends_with("_FILE")
            };
            for setting in settings().chain(KAFKA_SETTINGS).filter(holds) {
                assert!(named.contains(&setting.name), "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_setting_that_is_read_is_documented() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        // Nothing else is set, so that every default is asked for.
        Config::read(&|name| {
            asked.borrow_mut().insert(name.to_owned());
            match name {
                "API_BASE" => Some("https://example.org/".to_owned()),
                "API_TOKEN" => Some("x".to_owned()),
                _ => None,
            }
        })
        .expect("defaults");
        let mut asked = asked.into_inner();
        // What each back end reads is compared in its crate.
        asked.retain(|name| !store::settings().any(|setting| setting.name == name));
        let documented = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
        assert_eq!(asked, documented);
    }
}
