//! Runs `gwtm listen` as a process, with a broker, a store and the mock API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::gwtm_server::ADMIN;
use crate::kafka::Gcn;
use crate::program::{binary, http_get, workspace};
use crate::server::Process;

/// Arguments and settings of a listener, which can be started repeatedly.
#[derive(Debug, Clone)]
pub struct Listening {
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    log: PathBuf,
}

impl Listening {
    /// A listener to a broker's topics that writes into a folder, posts to an API and logs into a file beside the
    /// folder.
    pub fn to(gcn: &Gcn, store: &Path, api_base: &str) -> Self {
        let catalogue = workspace().join("events/catalog.csv").display().to_string();
        let orbit = workspace().join("events/fermi.tle").display().to_string();
        let store_folder = store.display().to_string();
        let settings = [
            ("STORAGE_FOLDER", store_folder.as_str()),
            ("API_BASE", api_base),
            ("API_TOKEN", ADMIN),
            ("OBSERVING_RUN", "O4"),
            // The mock's processes are not busy for longer, unless a test blocks them.
            ("API_SETTLE_SECONDS", "2"),
            ("CATALOG_PATH", &catalogue),
            ("FERMI_TLE_FILE", &orbit),
            // Tests must not use the network: point downloads to a closed port.
            ("FERMI_FT2_URL", "http://127.0.0.1:9/"),
            ("SWIFT_POINTING_URL", "http://127.0.0.1:9/"),
            ("GRACEDB_URL", "http://127.0.0.1:9/"),
            ("FLAT_MAX_ORDER", "4"),
            ("HEALTH_ADDR", "none"),
        ];
        let kafka = gcn.settings().map(|(name, value)| (name.to_owned(), value));
        let settings =
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().chain(kafka).collect();
        Listening { arguments: vec!["listen".to_owned()], settings, log: store.with_extension("log") }
    }

    /// Replaces a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.retain(|(set, _)| set != name);
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Restricts it to one topic.
    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.arguments.extend(["--topic".to_owned(), topic.to_owned()]);
        self
    }

    /// Starts it.
    pub fn start(&self) -> Process {
        let mut command = Command::new(binary("gwtm"));
        command.args(&self.arguments).env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        Process::logging_to(&self.log, command)
    }

    /// The log of all its processes.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Number of partitions in each assignment that its processes logged, the heartbeat's not counted.
    ///
    /// # Panics
    /// When the log does not name the number.
    pub fn assignments(&self) -> Vec<usize> {
        let said = self.said();
        // A line that is not yet whole has no end.
        let lines =
            said.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains("partitions assigned"));
        lines
            .map(|line| {
                let number =
                    line.split_once("partitions=").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
                number
                    .flatten()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or_else(|| panic!("partitions in {line}"))
            })
            .collect()
    }

    /// Number of partitions that its last process holds.
    pub fn holds(&self) -> usize {
        self.assignments().last().copied().unwrap_or_default()
    }
}

/// Waits until there are at least `all`, however long that takes: on a busy machine much work takes minutes. Panics
/// when none was added for a minute.
pub async fn reaches(what: &str, all: usize, mut count: impl AsyncFnMut() -> usize) {
    let (mut before, mut added) = (0, Instant::now());
    loop {
        let now = count().await;
        if now >= all {
            return;
        }
        if now > before {
            (before, added) = (now, Instant::now());
        }
        assert!(added.elapsed() < Duration::from_secs(60), "timed out waiting for {what}: {now} of {all}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a condition holds; the timeout allows for a busy machine.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(120), "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A metric of a listener without labels; none when it does not respond.
///
/// # Panics
/// When it has no such metric.
pub fn metric(port: u16, name: &str) -> Option<f64> {
    let (_, metrics) = http_get(port, "/metrics")?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Some(value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("expected {name} in {metrics}")))
}

/// Waits until a listener receives a heartbeat, which lowers the age of its last one.
pub async fn hears(port: u16) {
    let mut oldest = 0.0_f64;
    eventually("a heartbeat", async || {
        let Some(age) = metric(port, "gwtm_heartbeat_age_seconds") else { return false };
        oldest = oldest.max(age);
        age < oldest
    })
    .await;
}
