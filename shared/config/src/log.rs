//! What is logged, and how: sentences with fields on standard error.

use std::io::{self, IsTerminal};

use shared::Result;
use shared::settings::Reader;
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// LOG_LEVEL: a level or tracing directives, when it is set.
    pub level: Option<String>,
    /// What an operator should know of the settings; said when logging starts.
    pub warnings: Vec<String>,
}

/// For whom a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People: a line an event.
    Text,
    /// Machines: a JSON object an event.
    Json,
}

/// The crates of this workspace as log targets: what the directive `gwtm=debug` stands for.
pub const CRATES: [&str; 19] = [
    "annotate",
    "audit",
    "bridge",
    "cli",
    "config",
    "galaxy_list",
    "gracedb",
    "http_client",
    "ingest_icecube",
    "ingest_ligo",
    "kafka",
    "lambda",
    "post_api",
    "runtime",
    "science",
    "shared",
    "skymap_products",
    "store",
    "treasuremap",
];

impl Log {
    /// Reads the environment, for a program whose other settings cannot be read yet.
    ///
    /// # Errors
    /// Permanent, naming every setting that is malformed.
    pub fn from_env() -> Result<Self> {
        let get = super::environment(&[]);
        let mut settings = super::reader(&get);
        let log = Self::settings(&mut settings);
        settings.finish(log)
    }

    pub(super) fn settings(settings: &mut Reader<'_>) -> Self {
        let format = match &*settings.one_of("LOG_FORMAT", &["text", "json"]) {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        };
        let verbose = settings.flag("VERBOSE");
        let level = settings.text("LOG_LEVEL").or_else(|| verbose.then(|| "debug".to_owned()));
        if let Some(Err(error)) = level.as_deref().map(directives) {
            settings.problems.push(format!("`LOG_LEVEL`: expected a level or tracing directives: {error}"));
        }
        Log { format, level, warnings: std::mem::take(&mut settings.warnings) }
    }

    /// Starts logging to standard error, at `level` unless LOG_LEVEL says otherwise; a second start changes nothing.
    pub fn start(&self, level: &str) {
        self.start_without(level, None);
    }

    /// As [`Log::start`], without what a library says of itself.
    pub fn start_without(&self, level: &str, library: Option<&str>) {
        let level = self.level.as_deref().unwrap_or(level);
        let mut filter = directives(level).unwrap_or_else(|_| EnvFilter::new("info"));
        if let Some(silence) = library.and_then(|library| format!("{library}=off").parse().ok()) {
            filter = filter.add_directive(silence);
        }
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        let started = match self.format {
            LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
            LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        };
        if started.is_err() {
            tracing::debug!("logging had already been started");
        }
        for warning in &self.warnings {
            tracing::warn!("setting {warning}");
        }
    }
}

/// The filter that a LOG_LEVEL means: a bare level is ours, and what libraries say stays at `warn` or above. In a list of
/// directives `gwtm=debug` covers every crate of ours.
pub(super) fn directives(level: &str) -> std::result::Result<EnvFilter, String> {
    let level = level.trim().to_ascii_lowercase();
    let level = match level.as_str() {
        // Python's names, which the older listeners' settings use.
        "warning" => "warn".to_owned(),
        "critical" => "error".to_owned(),
        "info" | "debug" | "trace" => format!("warn,gwtm={level}"),
        _ => level,
    };
    let each = |directive: &str| match directive.trim().strip_prefix("gwtm=") {
        Some(level) => CRATES.map(|name| format!("{name}={level}")).join(","),
        None => directive.to_owned(),
    };
    let all: Vec<String> = level.split(',').map(each).collect();
    EnvFilter::try_new(all.join(",")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directive_covers_every_crate() {
        let all = |level: &str| directives(level).expect("a filter").to_string();
        assert_eq!(all("debug"), all("warn,gwtm=debug"));
        for name in CRATES {
            assert!(all("gwtm=debug,hyper=info").contains(&format!("{name}=debug")), "{name}");
        }
        assert!(!all("error").contains("science"));
    }
}
