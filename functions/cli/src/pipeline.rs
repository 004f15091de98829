//! One notice through the functions, in order, inside this process.
//!
//! ```text
//! igwn:    ingest-ligo → for each alert ( skymap-products ‖ galaxy-list ) → post-api → annotate → notify
//! icecube: ingest-icecube → post-api → annotate → notify
//! ```
//!
//! An igwn notice that `ingest-ligo` cannot read goes to `notify`, which knows alerts of unknown types. `annotate` runs after
//! a post that failed, too; an IceCube search is notified about only after its post.
//!
//! `infra/flows/*.asl.yaml` hold the same order for Step Functions; tests/tests/flows.rs compares the two. Nothing is
//! retried here: an error keeps its class, and the caller decides.

use std::time::{Duration, Instant};

use config::Config;
use shared::error::caught;
use shared::key::AlertName;
use shared::message::{
    Annotated, AnnotatedSearch, Ingested, Notifiable, Notification, Posted, Publication, Received, Settled,
};
use shared::notice::NoticeKind;
use shared::notice::icecube::TrackSearch;
use shared::{Error, Result};
use store::Store;

/// A function of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Function {
    IngestLigo,
    IngestIceCube,
    SkymapProducts,
    GalaxyList,
    PostApi,
    Annotate,
    Notify,
}

impl Function {
    /// Its name, as its crate, its Lambda function and its state in the flows have it.
    pub fn name(self) -> &'static str {
        match self {
            Function::IngestLigo => "ingest-ligo",
            Function::IngestIceCube => "ingest-icecube",
            Function::SkymapProducts => "skymap-products",
            Function::GalaxyList => "galaxy-list",
            Function::PostApi => "post-api",
            Function::Annotate => "annotate",
            Function::Notify => "notify",
        }
    }

    /// Whether a notice is done although this failed: the alert goes on without its part.
    fn is_optional(self) -> bool {
        matches!(self, Function::SkymapProducts | Function::GalaxyList | Function::Annotate | Function::Notify)
    }
}

/// One call of a function.
#[derive(Debug, Clone)]
pub struct Step {
    /// The function.
    pub function: Function,
    /// The alert; `None` for a function that is called with the notice.
    pub alert: Option<AlertName>,
    /// Whether it succeeded.
    pub result: Result<()>,
    /// How long it took.
    pub duration: Duration,
}

impl Step {
    /// The step as it is kept under `failed/`: `galaxy-list of S230518h-Initial`.
    pub fn label(&self) -> String {
        match &self.alert {
            Some(alert) => format!("{} of {alert}", self.function.name()),
            None => self.function.name().to_owned(),
        }
    }

    /// What the step adds to the notice's name under `failed/`: `-S230518h-Initial-galaxy-list`.
    pub fn suffix(&self) -> String {
        match &self.alert {
            Some(alert) => format!("-{alert}-{}", self.function.name()),
            None => format!("-{}", self.function.name()),
        }
    }
}

/// An alert and what the functions answered for it; what failed is absent.
#[derive(Debug, Clone)]
pub struct ProcessedAlert {
    /// The alert, its products, galaxies and posts.
    pub settled: Settled,
    /// What `annotate` answered, with the notifications of `notify`.
    pub annotated: Option<Annotated>,
}

/// An IceCube search and what the functions answered for it; what failed is absent.
#[derive(Debug, Clone)]
pub struct ProcessedSearch {
    /// The search.
    pub search: TrackSearch,
    /// What `post-api` answered.
    pub posted: Option<Posted>,
    /// What `annotate` answered.
    pub annotated: Option<AnnotatedSearch>,
}

/// What became of a notice.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Every call, in the order in which it ended.
    pub steps: Vec<Step>,
    /// The alerts of a LIGO/Virgo/KAGRA notice, in the order in which they are posted.
    pub alerts: Vec<ProcessedAlert>,
    /// The search of an IceCube notice.
    pub icecube: Option<ProcessedSearch>,
    /// The notifications about a notice that is no alert.
    pub notifications: Vec<Notification>,
    /// Why the notice was not processed.
    pub skipped: Option<String>,
}

impl Outcome {
    /// Why the notice is not done. Of several errors a Retryable one goes first, so that all is tried again. With
    /// `wait`, annotations and notifications that failed in a way that may pass are tried again too, with everything before them.
    pub fn error(&self, wait: bool) -> Option<&Error> {
        let stops = self.steps.iter().filter_map(|step| {
            let error = step.result.as_ref().err()?;
            let waits = wait && matches!(step.function, Function::Annotate | Function::Notify) && error.is_retryable();
            (waits || !step.function.is_optional()).then_some(error)
        });
        // The first of those that are equal.
        stops.min_by_key(|error| !error.is_retryable())
    }

    /// The steps that failed and without which the notice is done.
    pub fn missing(&self) -> impl Iterator<Item = (&Step, &Error)> {
        self.steps
            .iter()
            .filter(|step| step.function.is_optional())
            .filter_map(|step| Some((step, step.result.as_ref().err()?)))
    }

    /// How long a function took, over all of the notice's alerts.
    pub fn duration(&self, function: Function) -> Duration {
        self.steps.iter().filter(|step| step.function == function).map(|step| step.duration).sum()
    }

    /// Adds a call and how it ended.
    fn record<T>(
        &mut self,
        function: Function,
        alert: Option<&AlertName>,
        (answer, duration): (Result<T>, Duration),
    ) -> Result<T> {
        let error = answer.as_ref().err();
        let name = alert.map(tracing::field::display);
        let (text, ms) = (error.map(tracing::field::display), duration.as_millis());
        tracing::debug!(
            function = function.name(),
            alert_name = name,
            duration_ms = ms,
            error = text,
            "function ended"
        );
        let result = error.map_or(Ok(()), |error| Err(error.clone()));
        self.steps.push(Step { function, alert: alert.cloned(), result, duration });
        answer
    }
}

/// Every function, ready to be called, around one store.
pub struct Pipeline {
    ingest_ligo: ingest_ligo::Deps,
    ingest_icecube: ingest_icecube::Deps,
    skymap_products: skymap_products::Deps,
    galaxy_list: galaxy_list::Deps,
    post_api: post_api::Deps,
    annotate: annotate::Deps,
    notify: annotate::notify::Deps,
}

impl Pipeline {
    /// Builds what every function touches.
    ///
    /// # Errors
    /// What a function says of its settings.
    pub fn new(config: &Config, store: &Store) -> Result<Self> {
        Ok(Pipeline {
            ingest_ligo: ingest_ligo::Deps::new(config, store.clone())?,
            ingest_icecube: ingest_icecube::Deps::new(config, store.clone())?,
            skymap_products: skymap_products::Deps::new(config, store.clone())?,
            galaxy_list: galaxy_list::Deps::new(config, store.clone())?,
            post_api: post_api::Deps::new(config, store.clone())?,
            annotate: annotate::Deps::new(config, store.clone())?,
            notify: annotate::notify::Deps::new(config, store.clone())?,
        })
    }

    /// Runs the functions for a notice. With `wait`, nothing more is posted after a retryable error of an alert's products,
    /// galaxies or post: posting then fails with that error, and the notice can be retried as a whole.
    pub async fn run(&self, kind: NoticeKind, received: Received, wait: bool) -> Outcome {
        match kind {
            NoticeKind::Igwn => self.igwn(received, wait).await,
            NoticeKind::IceCube => self.icecube(received).await,
        }
    }

    async fn igwn(&self, received: Received, wait: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let ingested = timed(ingest_ligo::handle(&self.ingest_ligo, received.clone())).await;
        let alerts = match outcome.record(Function::IngestLigo, None, ingested) {
            Ok(Ingested { alerts, skipped }) => {
                outcome.skipped = skipped;
                alerts
            }
            Err(error) => {
                if !error.is_retryable() {
                    self.notify(&mut outcome, received).await;
                }
                return outcome;
            }
        };
        // Why nothing more is posted of this notice.
        let mut held: Option<Error> = None;
        // One after another, because the GWTM counts alerts in the order in which they are posted. Without `wait` the second
        // is tried although the first failed: the two are of different types.
        for alert in alerts {
            let name = &alert.name.clone();
            let (products, galaxies) = futures::join!(
                timed(skymap_products::handle(&self.skymap_products, alert.clone())),
                timed(galaxy_list::handle(&self.galaxy_list, alert.clone()))
            );
            let products = outcome.record(Function::SkymapProducts, Some(name), products);
            let galaxies = outcome.record(Function::GalaxyList, Some(name), galaxies);
            let failed = [products.as_ref().err(), galaxies.as_ref().err()];
            let may_pass = failed.into_iter().flatten().find(|error| wait && error.is_retryable());
            held = held.or(may_pass.cloned());
            let (alert, products, galaxies) = (Box::new(alert), products.ok(), galaxies.ok());
            let mut settled = Settled { alert, products, galaxies, posted: None };
            let posted = match &held {
                Some(error) => (Err(error.clone().of("not posted yet")), Duration::ZERO),
                None => timed(post_api::handle(&self.post_api, publication(&settled))).await,
            };
            let posted = outcome.record(Function::PostApi, Some(name), posted);
            // The next alert of the notice waits for this one's row.
            held = held.or(posted.as_ref().err().filter(|error| wait && error.is_retryable()).cloned());
            settled.posted = posted.ok();
            let annotated = timed(annotate::alert(&self.annotate, settled.clone())).await;
            let mut annotated = outcome.record(Function::Annotate, Some(name), annotated).ok();
            if let Some(annotated) = &mut annotated {
                let notifiable = Notifiable::Alert(annotated.clone());
                let notified = timed(annotate::notify::handle(&self.notify, notifiable)).await;
                let notified = outcome.record(Function::Notify, Some(name), notified);
                if let Ok(notified) = notified {
                    (annotated.notifications, annotated.unmet) = (notified.notifications, notified.unmet);
                }
            }
            outcome.alerts.push(ProcessedAlert { settled, annotated });
        }
        outcome
    }

    async fn icecube(&self, received: Received) -> Outcome {
        let mut outcome = Outcome::default();
        let ingested = timed(ingest_icecube::handle(&self.ingest_icecube, received.clone())).await;
        let publication = outcome.record(Function::IngestIceCube, None, ingested);
        let Ok(Publication::IceCube(search)) = publication else { return outcome };
        let posted = timed(post_api::handle(&self.post_api, Publication::IceCube(search.clone()))).await;
        let posted = outcome.record(Function::PostApi, None, posted).ok();
        let annotated = timed(annotate::search(&self.annotate, &search)).await;
        let annotated = outcome.record(Function::Annotate, None, annotated).ok();
        if posted.is_some() {
            self.notify(&mut outcome, received).await;
        }
        outcome.icecube = Some(ProcessedSearch { search, posted, annotated });
        outcome
    }

    /// Notifies about a notice that is no alert.
    async fn notify(&self, outcome: &mut Outcome, received: Received) {
        let notified = timed(annotate::notify::handle(&self.notify, Notifiable::Notice(received))).await;
        let notified = outcome.record(Function::Notify, None, notified);
        outcome.notifications = notified.map(|notified| notified.notifications).unwrap_or_default();
    }
}

/// What `post-api` is called with.
fn publication(settled: &Settled) -> Publication {
    let Settled { alert, products, galaxies, .. } = settled.clone();
    Publication::Ligo { alert, products, galaxies }
}

/// Awaits a function and takes its time; a panic becomes a permanent error.
async fn timed<T>(call: impl Future<Output = Result<T>>) -> (Result<T>, Duration) {
    let begun = Instant::now();
    // On the heap: together the functions' futures are larger than a thread's stack.
    let answer = caught(Box::pin(call)).await;
    (answer, begun.elapsed())
}
