//! `gwtm check`: what is set, and whether everything that is set can be reached.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use config::{Config, Kafka, Surveyed, survey};
use futures::TryStreamExt;
use galaxy_list::source::CatalogueSource;
use http_client::Fetch;
use jiff::Timestamp;
use serde::Serialize;
use shared::Error;
use shared::key::Key;
#[cfg(feature = "kafka")]
use shared::notice::NoticeKind;
use skymap_products::fermi;
use store::Store;
use treasuremap::{Access, Client, Timing};

use crate::Failure;

/// The first parts of the names that are written: each may be another container, or another file system.
const ROOTS: [&str; 7] = ["fit", "test", "work", "inbox", "failed", "fermi", "swift"];
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Why nothing of Kafka is looked at.
const NO_CLIENT: &str = "no client is set (KAFKA_CLIENT_ID, KAFKA_CLIENT_SECRET)";

/// Options of `gwtm check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm check                  check settings, store, API, catalogue, Fermi's orbit and Kafka
  gwtm check --offline        check settings and the files they name
  gwtm check --json           print JSON for monitoring
  gwtm check --aws gwtm       take a mock alert through the stack `gwtm` on AWS

Posts nothing and joins no Kafka group. Writes and deletes a small object, check/probe-….json, below each of fit/, test/,
work/, inbox/, failed/, fermi/ and swift/ in the store.

--aws stores a simulated mock alert, starts the flow with it, waits for its end, compares the objects with the alert's
annotations, prints how long each step took, and removes what it wrote. Needs no settings but a log-in to AWS; infra/README.md
lists its rights.
Exit code: 0 all checks passed, 1 a service is unreachable or unusable, 2 settings are missing or malformed, a server's
certificate cannot be trusted, or GCN or its broker rejects the log-in.")]
pub struct CheckOptions {
    /// Check only the settings and the files they name.
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Take a simulated mock alert through this CloudFormation stack, without posting it.
    #[cfg(feature = "s3")]
    #[arg(long, value_name = "STACK", conflicts_with = "offline")]
    pub aws: Option<String>,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// What was looked at, and what was seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Look {
    what: &'static str,
    pub(crate) verdict: Verdict,
    /// What was seen, or what to do next.
    text: String,
    /// Whether it failed for settings that no retry will help.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    permanent: bool,
}

/// Looks at everything; whether all is well.
///
/// # Errors
/// When settings are missing or malformed, name a server whose certificate cannot be trusted, or are rejected by GCN's
/// log-in or the broker's, after the table has been printed.
pub async fn check(options: &CheckOptions) -> Result<bool, Failure> {
    #[cfg(feature = "s3")]
    if let Some(stack) = &options.aws {
        return crate::aws::check::check(stack, options.json).await;
    }
    let surveyed = survey();
    let looks = match Config::from_env(&[]) {
        Ok(config) if options.offline => look_at_pointings(&config, None).await,
        Ok(config) => look(&config).await,
        Err(_) => Vec::new(),
    };
    let mut out = io::stdout().lock();
    let printed =
        if options.json { print_json(&mut out, &surveyed, &looks) } else { print(&mut out, &surveyed, &looks) };
    printed.map_err(Failure::work)?;
    if let Some(first) = surveyed.problems.first() {
        return Err(Failure::usage(format!("{first}. Set what is missing, then run `gwtm check` again")));
    }
    if let Some(Look { what, text, .. }) = looks.iter().find(|look| look.permanent) {
        return Err(Failure::usage(format!("{what}: {text}")));
    }
    Ok(looks.iter().all(|look| look.verdict != Verdict::Failed))
}

/// Reads Swift's pointings as the function reads them. The files of galaxies and notifications have been read with the
/// settings.
async fn look_at_pointings(config: &Config, store: Option<&Store>) -> Vec<Look> {
    let Some(name) = &config.swift.pointing_file else { return Vec::new() };
    let what = "Swift's pointings";
    if store.is_none() && Key::new(name).is_ok() && !Path::new(name).exists() {
        return vec![seen(what, Verdict::Skipped, format!("`{name}` is no file: an object of the store, perhaps"))];
    }
    vec![match skymap_products::swift_bat::count(store, name).await {
        Ok(count) => seen(what, Verdict::Ok, format!("file `{name}`: {count} pointings")),
        Err(error) => failed(what, &error.of(format!("file `{name}`")), "see SWIFT_POINTING_FILE"),
    }]
}

async fn look(config: &Config) -> Vec<Look> {
    config.log.start("error");
    let store = match Store::open(&config.storage).await {
        Ok(store) => store,
        Err(error) => return vec![failed("store", &error, "see STORAGE_BUCKET_SOURCE")],
    };
    let (storage, api, catalogue, orbit, log_in, broker) = tokio::join!(
        within("store", look_at_store(config, &store)),
        within("API", look_at_api(config)),
        within("catalogue", look_at_catalogue(config, &store)),
        within("Fermi's orbit", look_at_orbit(config, &store)),
        within("GCN's log-in", look_at_log_in()),
        within("Kafka", look_at_broker()),
    );
    let mut looks = look_at_pointings(config, Some(&store)).await;
    looks.extend([storage, api, catalogue, orbit, log_in, broker]);
    looks.push(match config.notify.rules.len() {
        0 => seen("notifications", Verdict::Skipped, "nobody is told (NOTIFY_CONFIG)"),
        rules => seen("notifications", Verdict::Ok, format!("{rules} rules; `gwtm notify --test` tries their targets")),
    });
    looks
}

pub(crate) fn seen(what: &'static str, verdict: Verdict, text: impl Into<String>) -> Look {
    Look { what, verdict, text: text.into(), permanent: false }
}

pub(crate) fn failed(what: &'static str, error: &Error, next: &str) -> Look {
    let text = error.to_string();
    // Retries do not help, whatever class the error has for who listens.
    let advice = http_client::certificate_advice(&text);
    let next = match advice {
        Some(advice) if text.contains(advice) => "a settings error: no retry will help".to_owned(),
        Some(advice) => format!("a settings error, no retry will help: {advice}"),
        None => next.to_owned(),
    };
    Look { permanent: advice.is_some(), ..seen(what, Verdict::Failed, format!("{text}; {next}")) }
}

/// A failed look at a log-in: a rejected one is a matter of the settings.
fn failed_login(what: &'static str, error: &Error, next: &str) -> Look {
    let look = failed(what, error, next);
    Look { permanent: look.permanent || !error.is_retryable(), ..look }
}

async fn within(what: &'static str, look: impl Future<Output = Look>) -> Look {
    let late = || seen(what, Verdict::Failed, format!("expected an answer within {LIMIT:?}; is the address right?"));
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| late())
}

async fn look_at_store(config: &Config, store: &Store) -> Look {
    let next = "see the settings of the store, and what the account may do";
    if config.dry_run || !config.write_to_storage {
        return match store.list("fit/").try_next().await {
            Ok(_) => {
                seen("store", Verdict::Ok, format!("{}: listed; nothing is written by the settings", config.storage))
            }
            Err(error) => failed("store", &error, next),
        };
    }
    // Two who check at once must not see one another's object.
    let name = format!("check/probe-{}-{}.json", std::process::id(), Timestamp::now().as_nanosecond());
    let probes = ROOTS.map(|root| probe(store, format!("{root}/{name}")));
    match futures::future::try_join_all(probes).await {
        Ok(_) => {
            let text = format!("{}: written, created once, read, listed, deleted", config.storage);
            seen("store", Verdict::Ok, format!("{text} below {}/", ROOTS.join("/, ")))
        }
        Err(error) => failed("store", &error, next),
    }
}

/// Does to an object everything that is done to objects.
async fn probe(store: &Store, name: String) -> shared::Result<()> {
    let key = Key::new(name)?;
    let bytes = Bytes::from(format!("{{\"checked\": \"{}\"}}\n", Timestamp::now()));
    let done = async {
        if !store.put_if_absent(&key, Bytes::from_static(b"{}\n")).await? {
            return Err(Error::permanent(format!("object `{key}`: expected it to be created, found it there")));
        }
        if store.put_if_absent(&key, bytes.clone()).await? {
            return Err(Error::permanent(format!("object `{key}`: expected it to be created once, it was twice")));
        }
        store.put(&key, bytes.clone()).await?;
        if store.read(&key).await? != bytes {
            return Err(Error::permanent(format!("object `{key}`: expected what was written, found something else")));
        }
        if !store.keys(key.as_str()).await?.contains(&key) {
            return Err(Error::permanent(format!("object `{key}`: expected it to be listed")));
        }
        Ok(())
    }
    .await;
    // It is taken away whatever was wrong with it, if it is there.
    let deleted = store.delete(&key).await;
    done?;
    if !deleted? || store.head(&key).await?.is_some() {
        return Err(Error::permanent(format!("object `{key}`: expected it to be gone once it is deleted")));
    }
    Ok(())
}

async fn look_at_api(config: &Config) -> Look {
    let Some(api) = &config.api else {
        return seen("API", Verdict::Skipped, "nothing is posted (API_BASE)");
    };
    let access = async {
        Client::new(&api.base, api.token.reveal(), Timing { attempts: 1, ..Timing::new(api.timeout, api.settle) })?
            .access()
            .await
    };
    match access.await {
        Ok(Access::Administrator) => seen("API", Verdict::Ok, "the token is an administrator's"),
        Ok(Access::User) => seen(
            "API",
            Verdict::Failed,
            "the token is a user's: it cannot post alerts; ask for an administrator's (API_TOKEN)",
        ),
        Ok(Access::Refused) => seen("API", Verdict::Failed, "the server does not know the token; see API_TOKEN"),
        Ok(Access::Unknown) => seen("API", Verdict::Warning, "the retired generation v0 cannot be asked; /api/v1/ can"),
        Err(error) => failed("API", &error, "see API_BASE, which ends with `/api/v1/`"),
    }
}

async fn look_at_catalogue(config: &Config, store: &Store) -> Look {
    let Some(name) = &config.galaxies.catalog else {
        return seen("catalogue", Verdict::Skipped, "no galaxy lists (CATALOG_PATH)");
    };
    let found = async {
        let source = CatalogueSource::find(store, name).await?;
        Ok::<_, Error>((source.size(), source.index().await?))
    };
    match found.await {
        Ok((_, Some(index))) => {
            seen("catalogue", Verdict::Ok, format!("{name}: an index of {} galaxies", index.rows()))
        }
        Ok((size, None)) => seen(
            "catalogue",
            Verdict::Warning,
            format!("{name}: {size} bytes without index, read whole; `gwtm catalog build {name} --out …` makes one"),
        ),
        Err(error) => failed("catalogue", &error.of(format!("`{name}`")), "see CATALOG_PATH"),
    }
}

async fn look_at_orbit(config: &Config, store: &Store) -> Look {
    if config.fermi.tle_url.is_none() && config.fermi.tle_file.is_none() {
        return seen("Fermi's orbit", Verdict::Skipped, "none is fetched (FERMI_TLE_URL is `none`)");
    }
    let age = async { fermi::orbit_age(&fermi::Sources::new(&config.fermi)?, store, Timestamp::now()).await };
    // Only one product depends on it.
    match age.await {
        Ok(age) => seen("Fermi's orbit", Verdict::Ok, age),
        Err(error) => seen(
            "Fermi's orbit",
            Verdict::Warning,
            format!("{error}; alerts go out without what Fermi GBM saw, see FERMI_TLE_URL and FERMI_TLE_FILE"),
        ),
    }
}

/// Whether the broker answers, and has the topics that are listened to. No group is joined.
#[cfg(feature = "kafka")]
async fn look_at_broker() -> Look {
    let what = "Kafka";
    let Ok(kafka) = Kafka::from_env(&[]) else { return seen(what, Verdict::Skipped, NO_CLIENT) };
    let bootstrap = kafka.bootstrap.clone();
    let wanted = NoticeKind::ALL.map(NoticeKind::topic).into_iter().chain([kafka::consumer::HEARTBEAT]);
    let wanted: Vec<String> = wanted.map(|topic| kafka.topic(topic)).collect();
    // Less than the limit, so that librdkafka's reason comes before it.
    let ask = move || kafka::topic::known(&kafka, LIMIT * 3 / 4);
    let known = match runtime::blocking(what, ask).await {
        Ok(known) => known,
        Err(error) => {
            let next = if error.is_retryable() {
                "see KAFKA_BOOTSTRAP or GCN_DOMAIN, KAFKA_ADDRESS_FAMILY and KAFKA_CA_LOCATION"
            } else {
                "see KAFKA_CLIENT_ID, KAFKA_CLIENT_SECRET, KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_MECHANISM"
            };
            return failed_login(what, &error, next);
        }
    };
    let missing: Vec<&str> = wanted.iter().filter(|topic| !known.contains(topic)).map(String::as_str).collect();
    if missing.is_empty() {
        return seen(
            what,
            Verdict::Ok,
            format!("the broker `{bootstrap}` answers and has all {} topics", wanted.len()),
        );
    }
    let text = format!("the broker `{bootstrap}` answers, but has no topic `{}`", missing.join("`, `"));
    seen(what, Verdict::Warning, text + "; a listener waits for it")
}

#[cfg(not(feature = "kafka"))]
async fn look_at_broker() -> Look {
    seen("Kafka", Verdict::Skipped, "this program was built without Kafka (build it with `--features kafka`)")
}

/// Whether GCN gives a token for the client's id and secret: what a connection to its Kafka begins with.
async fn look_at_log_in() -> Look {
    let what = "GCN's log-in";
    let Ok(kafka) = Kafka::from_env(&[]) else { return seen(what, Verdict::Skipped, NO_CLIENT) };
    let Some((login, token_url, scope)) = kafka.token_login() else {
        return seen(what, Verdict::Skipped, format!("the broker `{}` wants no token", kafka.bootstrap));
    };
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &login.client_id),
        ("client_secret", login.client_secret.reveal()),
        ("scope", scope),
    ];
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let asked = async {
        let body = Bytes::from(form.join("&"));
        // As the listener does, whose librdkafka knows nothing of SSL_CERT_FILE.
        Fetch::trusting(kafka.ca_location.as_deref().map(Path::new))?
            .post(token_url, "application/x-www-form-urlencoded", body, LIMIT)
            .await
    };
    match asked.await {
        Ok(()) => seen(what, Verdict::Ok, "GCN gives a token for the client"),
        Err(error) => failed_login(
            what,
            &error,
            "see KAFKA_CLIENT_ID, KAFKA_CLIENT_SECRET and GCN_DOMAIN (https://gcn.nasa.gov/quickstart)",
        ),
    }
}

/// Text inside a form.
fn encoded(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn print(out: &mut impl Write, surveyed: &Surveyed, looks: &[Look]) -> io::Result<()> {
    writeln!(out, "Settings")?;
    for found in &surveyed.settings {
        let (state, value) = match &found.value {
            Some(value) => ("set", value.as_str()),
            None => ("default", found.setting.default),
        };
        writeln!(out, "  {:<30} {state:<8} {value}", found.setting.name)?;
    }
    for (title, lines) in [("Missing or malformed", &surveyed.problems), ("Worth a look", &surveyed.contradictions)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}")?;
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    if !looks.is_empty() {
        writeln!(out, "\nWhat can be reached")?;
    }
    print_looks(out, looks)
}

pub(crate) fn print_looks(out: &mut impl Write, looks: &[Look]) -> io::Result<()> {
    for Look { what, verdict, text, .. } in looks {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        writeln!(out, "  {what:<30} {verdict:<8} {text}")?;
    }
    Ok(())
}

fn print_json(out: &mut impl Write, surveyed: &Surveyed, looks: &[Look]) -> io::Result<()> {
    let settings: serde_json::Map<String, serde_json::Value> =
        (surveyed.settings.iter()).map(|found| (found.setting.name.to_owned(), found.value.clone().into())).collect();
    let all = serde_json::json!({
        "settings": settings, "problems": surveyed.problems, "contradictions": surveyed.contradictions, "looks": looks,
    });
    writeln!(out, "{all}")
}
