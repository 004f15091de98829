//! `Received → Publication`: parses an IceCube track search of any generation.

use config::Config;
use shared::key::Object;
use shared::message::{Publication, Received};
use shared::notice::icecube::TrackSearch;
use shared::{Context, Error, Result};
use store::Store;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the notice, and what it says.
    pub store: Store,
    /// Whether searches around mock and test events are processed.
    pub test_alerts: bool,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the signature is that of the other functions.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store, test_alerts: config.test_alerts })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Parses a notice, keeps what it says beside the superevent's alerts, and returns the publication, which is
/// withheld, and not kept, around a mock or test event with TEST_ALERTS=false.
///
/// # Errors
/// Permanent, naming the field, when the notice cannot be parsed; otherwise the store's.
pub async fn handle(deps: &Deps, received: Received) -> Result<Publication> {
    let bytes = deps.store.read_body(&received.body).await?;
    let mut search = TrackSearch::parse(&bytes).map_err(|error: Error| error.of(&received.body))?;
    search.is_skipped = !deps.test_alerts && search.superevent_id.is_test();
    if !search.is_skipped {
        let key = Object::IceCube(&search.superevent_id, &search.ref_id).key()?;
        let bytes = serde_json::to_vec_pretty(&search).permanent("JSON")?;
        deps.store.put_if_changed(&key, bytes.into()).await?;
    }
    for warning in &search.warnings {
        tracing::warn!(ref_id = search.ref_id, superevent_id = %search.superevent_id, "{warning}");
    }
    tracing::info!(
        ref_id = search.ref_id,
        superevent_id = %search.superevent_id,
        events = search.events.len(),
        "read an IceCube track search"
    );
    Ok(Publication::IceCube(search))
}
