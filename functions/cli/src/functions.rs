//! The functions, each with what it touches, around one store.

use std::sync::{Mutex, PoisonError};

use crate::flow::{self, IceCubeOutcome, LigoOutcome};
use config::Config;
use shared::key::AlertName;
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::{Error, Result};
use store::Store;

/// Every function, ready to be called in one process.
pub struct Functions {
    ingest_ligo: ingest_ligo::Deps,
    ingest_icecube: ingest_icecube::Deps,
    skymap_products: skymap_products::Deps,
    galaxy_list: galaxy_list::Deps,
    post_api: post_api::Deps,
    annotate: annotate::Deps,
}

/// What became of a notice of either kind.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A LIGO/Virgo/KAGRA notice.
    Ligo(LigoOutcome),
    /// An IceCube notice.
    IceCube(Box<IceCubeOutcome>),
}

/// What went wrong with a notice: what stops it, and the parts without which it goes on.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    /// Why the notice is not done.
    pub stops: Option<Error>,
    /// The parts that are missing.
    pub parts: Vec<Part>,
}

/// A function that failed for an alert which goes on without it.
#[derive(Debug, Clone)]
pub struct Part {
    /// The function.
    pub function: &'static str,
    /// The alert.
    pub alert: AlertName,
    /// Why.
    pub error: Error,
}

impl Part {
    /// Where it failed, as it is kept under `failed/`.
    pub fn step(&self) -> String {
        format!("{} of {}", self.function, self.alert)
    }

    /// What it adds to the notice's name under `failed/`.
    pub fn ending(&self) -> String {
        format!("-{}-{}", self.alert, self.function)
    }
}

impl Outcome {
    /// What went wrong. Of several errors that stop the notice, one that may pass goes first, so that all is tried
    /// again. With `wait`, annotations that failed in a way that may pass are tried again too, with everything before
    /// them.
    pub fn failures(&self, wait: bool) -> Failures {
        let (mut stops, mut parts) = (Vec::new(), Vec::new());
        match self {
            Outcome::Ligo(outcome) => {
                stops.extend(outcome.ingested.answer.as_ref().err().cloned());
                for one in &outcome.alerts {
                    stops.extend(one.posted.answer.as_ref().err().cloned());
                    let (products, galaxies) = (one.products.answer.as_ref().err(), one.galaxies.answer.as_ref().err());
                    let annotated = one.annotated.answer.as_ref().err();
                    stops.extend(annotated.filter(|error| wait && error.is_retryable()).cloned());
                    for (function, error) in
                        [("skymap-products", products), ("galaxy-list", galaxies), ("annotate", annotated)]
                    {
                        let part =
                            |error: &Error| Part { function, alert: one.alert.name.clone(), error: error.clone() };
                        parts.extend(error.map(part));
                    }
                }
            }
            Outcome::IceCube(outcome) => {
                stops.extend(outcome.ingested.answer.as_ref().err().cloned());
                stops.extend(outcome.posted.as_ref().and_then(|posted| posted.answer.as_ref().err()).cloned());
            }
        }
        stops.sort_by_key(|error: &Error| !error.is_retryable());
        Failures { stops: stops.into_iter().next(), parts }
    }
}

impl Functions {
    /// Builds what every function touches, all around one store.
    ///
    /// # Errors
    /// What a function says of its settings.
    pub fn new(config: &Config, store: &Store) -> Result<Self> {
        Ok(Functions {
            ingest_ligo: ingest_ligo::Deps::new(config, store.clone())?,
            ingest_icecube: ingest_icecube::Deps::new(config, store.clone())?,
            skymap_products: skymap_products::Deps::new(config, store.clone())?,
            galaxy_list: galaxy_list::Deps::new(config, store.clone())?,
            post_api: post_api::Deps::new(config, store.clone())?,
            annotate: annotate::Deps::new(config, store.clone())?,
        })
    }

    /// Runs the flow of the notice's kind.
    pub async fn run(&self, kind: NoticeKind, received: Received) -> Outcome {
        self.run_or_wait(kind, received, false).await
    }

    /// Runs the flow of the notice's kind. With `wait`, nothing is posted of an alert whose products or galaxies failed
    /// in a way that may pass: posting then fails with their error, and the notice can be tried again as a whole.
    pub async fn run_or_wait(&self, kind: NoticeKind, received: Received, wait: bool) -> Outcome {
        let held: Mutex<Option<Error>> = Mutex::default();
        let hold = |error: &Error| {
            if wait && error.is_retryable() {
                held.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
            }
        };
        match kind {
            NoticeKind::Igwn => Outcome::Ligo(
                flow::ligo(
                    received,
                    |received| ingest_ligo::handle(&self.ingest_ligo, received),
                    |alert| async { skymap_products::handle(&self.skymap_products, alert).await.inspect_err(hold) },
                    |alert| async { galaxy_list::handle(&self.galaxy_list, alert).await.inspect_err(hold) },
                    |publication| async {
                        let held = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        match held {
                            Some(error) => Err(error.of("not posted yet")),
                            None => post_api::handle(&self.post_api, publication).await,
                        }
                    },
                    |settled| annotate::handle(&self.annotate, settled),
                )
                .await,
            ),
            NoticeKind::IceCube => Outcome::IceCube(Box::new(
                flow::icecube(
                    received,
                    |received| ingest_icecube::handle(&self.ingest_icecube, received),
                    |publication| post_api::handle(&self.post_api, publication),
                )
                .await,
            )),
        }
    }
}
