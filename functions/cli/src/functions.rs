//! The functions, each with what it touches, around one store.

use shared::Result;
use shared::config::Config;
use shared::flow::{self, IceCubeOutcome, LigoOutcome};
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::store::Store;

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
        match kind {
            NoticeKind::Igwn => Outcome::Ligo(
                flow::ligo(
                    received,
                    |received| ingest_ligo::handle(&self.ingest_ligo, received),
                    |alert| skymap_products::handle(&self.skymap_products, alert),
                    |alert| galaxy_list::handle(&self.galaxy_list, alert),
                    |publication| post_api::handle(&self.post_api, publication),
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
