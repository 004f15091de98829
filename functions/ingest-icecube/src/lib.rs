//! `Received → Publication`: parses an IceCube track search of any generation.

use config::Config;
use shared::message::{Publication, Received};
use shared::notice::icecube::TrackSearch;
use shared::{Error, Result};
use store::Store;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the notice.
    pub store: Store,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the signature is that of the other functions.
    pub fn new(_config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Parses a notice and returns the publication.
///
/// # Errors
/// Permanent, naming the field, when the notice cannot be parsed; otherwise the store's.
pub async fn handle(deps: &Deps, received: Received) -> Result<Publication> {
    let bytes = deps.store.read_body(&received.body).await?;
    let search = TrackSearch::parse(&bytes).map_err(|error: Error| error.of(&received.body))?;
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
