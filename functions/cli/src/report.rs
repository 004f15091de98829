//! The output of `gwtm run` for one notice: a JSON object or a table.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use config::Config;
use serde::Serialize;
use shared::key::{Key, Object, Parsed};
use shared::message::{
    Annotated, AnnotatedSearch, CoverageCertainty, Galaxies, Notification, NotificationStatus, Post, PostEndpoint,
    PostStatus, Product, ProductStatus, Role, Settled, Summary,
};
use shared::notice::icecube::TrackSearch;
use shared::{Error, Result};
use store::Store;

use crate::pipeline::{Function, Outcome, ProcessedAlert, ProcessedSearch, Step};

/// Outcome of one notice.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    notice: &'a str,
    status: &'static str,
    /// Whether objects were written; false in a dry run.
    stored: bool,
    /// Name of the first alert, or the IceCube search's reference.
    name: Option<String>,
    /// Why the notice was not processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
    alerts: Vec<AlertReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icecube: Option<IceCubeReport<'a>>,
    /// Those about a notice that is no alert; an alert's are with it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notifications: &'a [Notification],
    errors: Vec<ReportedError>,
    /// Duration of each function, summed over the notice's alerts [ms].
    durations_ms: BTreeMap<&'static str, f64>,
}

#[derive(Debug, Serialize)]
struct AlertReport<'a> {
    name: String,
    role: Role,
    time_created: jiff::Timestamp,
    /// The archived notice and map.
    notice: Option<Key>,
    skymap: Option<Key>,
    summary: Option<&'a Summary>,
    products: &'a [Product],
    /// How sure the products are that show what a spacecraft saw.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    coverage: &'a [CoverageCertainty],
    galaxies: Option<&'a Galaxies>,
    posts: &'a [Post],
    annotated: Option<&'a Annotated>,
}

#[derive(Debug, Serialize)]
struct IceCubeReport<'a> {
    search: &'a TrackSearch,
    posts: &'a [Post],
    annotated: Option<&'a AnnotatedSearch>,
}

/// A failed function; functions that do not depend on it still ran.
#[derive(Debug, Serialize)]
struct ReportedError {
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    class: &'static str,
    message: String,
}

/// The durations in a report: name in JSON, name in the table, and the functions summed.
const DURATIONS: [(&str, &str, &[Function]); 6] = [
    ("ingest", "ingest", &[Function::IngestLigo, Function::IngestIceCube]),
    ("skymap_products", "sky-map products", &[Function::SkymapProducts]),
    ("galaxy_list", "galaxies", &[Function::GalaxyList]),
    ("post_api", "posts", &[Function::PostApi]),
    ("annotate", "annotations", &[Function::Annotate]),
    ("notify", "notifications", &[Function::Notify]),
];

impl<'a> Report<'a> {
    fn none(notice: &'a str, stored: bool, total: Duration) -> Self {
        Report {
            notice,
            status: "done",
            stored,
            name: None,
            skipped: None,
            alerts: Vec::new(),
            icecube: None,
            notifications: &[],
            errors: Vec::new(),
            durations_ms: BTreeMap::from([("total", milliseconds(total))]),
        }
    }

    pub(crate) fn new(notice: &'a str, outcome: &'a Result<Outcome>, stored: bool, total: Duration) -> Self {
        let mut report = Report::none(notice, stored, total);
        match outcome {
            Err(error) => report.error("read", None, error),
            Ok(outcome) => report.outcome(outcome),
        }
        for (name, _, functions) in DURATIONS {
            let took = |function: &Function| outcome.as_ref().map_or(Duration::ZERO, |done| done.duration(*function));
            report.durations_ms.insert(name, milliseconds(functions.iter().map(took).sum()));
        }
        if !report.errors.is_empty() {
            report.status = "failed";
        }
        report
    }

    /// The report of a notice that was not tried, because an earlier one of its superevent failed.
    pub(crate) fn not_tried(notice: &'a str, because: &str) -> Self {
        let mut report = Report::none(notice, true, Duration::ZERO);
        let error = Error::retryable(format!("not tried, because its superevent's alerts wait behind {because}"));
        report.error("order", None, &error);
        report.status = "not_tried";
        report
    }

    /// Whether nothing failed.
    pub(crate) fn is_done(&self) -> bool {
        self.errors.is_empty()
    }

    fn outcome(&mut self, outcome: &'a Outcome) {
        let search = outcome.icecube.as_ref().map(|one| one.search.ref_id.as_str());
        for Step { function, alert, result, .. } in &outcome.steps {
            let Err(error) = result else { continue };
            let alert = alert.as_ref().map(ToString::to_string);
            let is_of_search = matches!(function, Function::PostApi | Function::Annotate);
            let search = search.filter(|_| is_of_search).map(str::to_owned);
            self.error(function.name(), alert.or(search), error);
        }
        for ProcessedAlert { settled: Settled { alert, products, galaxies, posted }, annotated } in &outcome.alerts {
            let coverage = products.as_ref().map_or(&[][..], |products| &products.coverage);
            let products = products.as_ref().map_or(&[][..], |products| &products.products);
            for Product { product, status } in products {
                if let ProductStatus::Failed { reason } = status {
                    let error = Error::permanent(format!("{}: {reason}", product.label()));
                    self.error(Function::SkymapProducts.name(), Some(alert.name.to_string()), &error);
                }
            }
            self.alerts.push(AlertReport {
                name: alert.name.to_string(),
                role: alert.role,
                time_created: alert.time_created,
                notice: Object::Notice(&alert.name).key().ok(),
                skymap: alert.skymap.clone(),
                summary: alert.summary.as_ref(),
                products,
                coverage,
                galaxies: galaxies.as_ref(),
                posts: posted.as_ref().map_or(&[], |posted| &posted.posts),
                annotated: annotated.as_ref(),
            });
        }
        self.icecube = outcome.icecube.as_ref().map(|ProcessedSearch { search, posted, annotated }| IceCubeReport {
            search,
            posts: posted.as_ref().map_or(&[], |posted| &posted.posts),
            annotated: annotated.as_ref(),
        });
        self.notifications = &outcome.notifications;
        self.skipped = outcome.skipped.as_deref();
        let first = outcome.alerts.first().map(|alert| alert.settled.alert.name.to_string());
        self.name = first.or(search.map(str::to_owned));
    }

    fn error(&mut self, stage: &'static str, alert: Option<String>, error: &Error) {
        tracing::error!(notice = self.notice, stage, alert_name = alert, error_class = %error.class(), "{error}");
        let (class, message) = (error.class().as_str(), error.to_string());
        self.errors.push(ReportedError { stage, alert, class, message });
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Prints a report: one line of JSON, or a table.
pub(crate) fn print(out: &mut impl Write, report: &Report, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, report)?;
        return writeln!(out);
    }
    writeln!(out, "{}", report.notice)?;
    for alert in &report.alerts {
        print_alert(out, alert, report.stored)?;
    }
    if let Some(IceCubeReport { search, posts, annotated }) = &report.icecube {
        let events = match search.events.len() {
            1 => "1 coincident neutrino".to_owned(),
            n => format!("{n} coincident neutrinos"),
        };
        writeln!(out, "  {} · IceCube track search around {} · {events}", search.ref_id, search.superevent_id)?;
        print_posts(out, posts)?;
        for alert in annotated.iter().flat_map(|annotated| &annotated.changed) {
            row(out, "annotations", "updated", &alert.to_string())?;
        }
    }
    print_notifications(out, report.notifications)?;
    if let Some(reason) = report.skipped {
        writeln!(out, "  not processed: {reason}")?;
    }
    for error in &report.errors {
        let alert = error.alert.as_deref().map(|name| format!(" of {name}")).unwrap_or_default();
        writeln!(out, "  FAILED {}{alert} ({}): {}", error.stage, error.class.to_lowercase(), error.message)?;
    }
    let ms = |name: &str| report.durations_ms.get(name).copied().unwrap_or_default();
    let parts: Vec<String> = DURATIONS.iter().map(|(name, label, _)| format!("{label} {:.0}", ms(name))).collect();
    writeln!(out, "  {:.0} ms: {}\n", ms("total"), parts.join(", "))
}

fn print_alert(out: &mut impl Write, alert: &AlertReport, stored: bool) -> io::Result<()> {
    let done = |verb: &str| if stored { verb.to_owned() } else { format!("would be {verb}") };
    let role = match alert.role {
        Role::Observation => "observation",
        Role::Test => "test",
    };
    writeln!(out, "  {} · {role} · created {}", alert.name, alert.time_created)?;
    if let Some(summary) = alert.summary {
        write!(
            out,
            "  RA {:.3}°, Dec {:.3}° · 50 % in {:.1} deg², 90 % in {:.1} deg²",
            summary.ra, summary.dec, summary.area_50, summary.area_90
        )?;
        match (summary.distance, summary.distance_error) {
            (Some(distance), Some(error)) => writeln!(out, " · {distance:.0} ± {error:.0} Mpc")?,
            _ => writeln!(out, " · no distance")?,
        }
    }
    for (what, key) in [("notice", &alert.notice), ("sky map", &alert.skymap)] {
        if let Some(key) = key {
            row(out, what, &done("archived"), key.as_str())?;
        }
    }
    for Product { product, status } in alert.products {
        let coverage = alert.coverage.iter().find(|coverage| coverage.product == *product);
        let certainty = coverage.map(|coverage| coverage.certainty.label());
        let replaced = coverage.and_then(|coverage| coverage.replaced).map(|before| before.label());
        let (verb, what) = match status {
            ProductStatus::Written { key, size, source } => {
                let certainty = certainty.map(|now| match replaced {
                    Some(before) => format!("{now} instead of {before}"),
                    None => now.to_owned(),
                });
                let details = [Some(indicatif::HumanBytes(*size).to_string()), certainty, source.clone()];
                let details: Vec<String> = details.into_iter().flatten().collect();
                let verb = if replaced.is_some() { "replaced" } else { "written" };
                (done(verb), format!("{key} ({})", details.join("; ")))
            }
            ProductStatus::AlreadyThere { key } => {
                let certainty = certainty.map(|certainty| format!(" ({certainty})")).unwrap_or_default();
                ("already there".to_owned(), format!("{key}{certainty}"))
            }
            ProductStatus::Missing { reason } => ("not made".to_owned(), reason.clone()),
            ProductStatus::Failed { reason } => ("FAILED".to_owned(), reason.clone()),
        };
        row(out, product.label(), &verb, &what)?;
    }
    if let Some(galaxies) = alert.galaxies {
        let reason = galaxies.reason.clone().unwrap_or_default();
        match &galaxies.key {
            Some(key) => row(out, "galaxies", &format!("{} ranked", galaxies.count), key.as_str())?,
            None => row(out, "galaxies", "no list", &reason)?,
        }
    }
    print_posts(out, alert.posts)?;
    if let Some(annotated) = alert.annotated {
        print_annotated(out, annotated, &done("written"))?;
    }
    Ok(())
}

fn print_annotated(out: &mut impl Write, annotated: &Annotated, written: &str) -> io::Result<()> {
    for made in &annotated.objects {
        let parsed = Parsed::of(&made.key);
        let what = match parsed.as_ref().map(Parsed::object) {
            Some(Object::Annotations(name)) if *name == annotated.name => "annotations",
            Some(Object::PlotSvg(name)) if *name == annotated.name => "plot, SVG",
            Some(Object::PlotPng(name)) if *name == annotated.name => "plot, PNG",
            Some(Object::Page(name)) if *name == annotated.name => "page",
            Some(Object::VoEvent(name)) if *name == annotated.name => "VOEvent",
            Some(Object::Latest(_)) => "newest alert",
            // Objects of the superevent's other alerts are listed below by name.
            _ => continue,
        };
        row(out, what, written, &format!("{} ({})", made.key, indicatif::HumanBytes(made.size)))?;
    }
    for name in &annotated.changed {
        row(out, "older alert", "updated", &name.to_string())?;
    }
    print_notifications(out, &annotated.notifications)?;
    for unmet in &annotated.unmet {
        row(out, &unmet.rule, "not met", &unmet.reasons.join("; "))?;
    }
    Ok(())
}

fn print_notifications(out: &mut impl Write, notifications: &[Notification]) -> io::Result<()> {
    for notification in notifications {
        let (verb, reason) = match &notification.status {
            NotificationStatus::Sent => ("sent", String::new()),
            NotificationStatus::AlreadySent => ("already sent", String::new()),
            NotificationStatus::NotSent { reason } => ("not sent", format!(" ({reason})")),
            NotificationStatus::Failed { reason } => ("NOT SENT", format!(" ({reason})")),
        };
        row(out, &notification.rule, verb, &format!("{}{reason}", notification.target))?;
    }
    Ok(())
}

fn print_posts(out: &mut impl Write, posts: &[Post]) -> io::Result<()> {
    for Post { request, key, status, note } in posts {
        let id = |id: &Option<i64>| id.map(|id| format!(" as {id}")).unwrap_or_default();
        let body = key.as_ref().map(|key| format!("{key}")).unwrap_or_default();
        let (verb, what) = match status {
            PostStatus::Posted { id: row } => (format!("posted{}", id(row)), body),
            PostStatus::AlreadyThere { id: row } => (format!("already there{}", id(row)), body),
            PostStatus::NotPosted { reason } if body.is_empty() => ("not posted".to_owned(), reason.clone()),
            PostStatus::NotPosted { reason } => ("not posted".to_owned(), format!("{body} ({reason})")),
        };
        row(out, endpoint(*request), &verb, &what)?;
        if let Some(note) = note {
            row(out, endpoint(*request), "NOTE", note)?;
        }
    }
    Ok(())
}

fn row(out: &mut impl Write, name: &str, verb: &str, what: &str) -> io::Result<()> {
    writeln!(out, "    {name:<20} {verb:<18} {what}")
}

fn endpoint(request: PostEndpoint) -> &'static str {
    match request {
        PostEndpoint::PostAlert => "post_alert",
        PostEndpoint::EventGalaxies => "event_galaxies",
        PostEndpoint::PostIceCube => "post_icecube_notice",
        PostEndpoint::DelTestAlerts => "del_test_alerts",
    }
}

/// Prints the totals.
pub(crate) fn print_totals(
    out: &mut impl Write,
    config: &Config,
    store: &Store,
    notices: usize,
    failed: usize,
) -> io::Result<()> {
    let done = notices - failed;
    writeln!(out, "{notices} notice{}: {done} done, {failed} failed", if notices == 1 { "" } else { "s" })?;
    if store.writes() {
        writeln!(out, "Objects are in {}.", config.storage)?;
    } else {
        let why = if config.dry_run { "Dry run" } else { "WRITE_TO_STORAGE=false" };
        writeln!(out, "{why}: nothing was written. Objects that would have been written:")?;
        for (key, size) in store.unwritten() {
            writeln!(out, "    {key} ({})", indicatif::HumanBytes(size))?;
        }
    }
    if config.api.is_none() {
        let why = if config.dry_run { "dry run" } else { "API_BASE is not set" };
        writeln!(out, "Nothing was posted: {why}.")?;
    }
    Ok(())
}
