//! The functions, each with what it touches, around one store.

use std::sync::{Mutex, PoisonError};

use shared::config::Config;
use shared::flow::{self, IceCubeOutcome, LigoOutcome};
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::store::Store;
use shared::{Error, Result};

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
