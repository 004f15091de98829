//! `Received → Publication`: reads an IceCube track search of any generation.

use config::Config;
use shared::message::{Publication, Received};
use shared::notice::icecube::TrackSearch;
use shared::{Error, Result};
use store::Store;

/// What this function touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the notice is.
    pub store: Store,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// None; the other functions' may fail.
    pub fn new(_config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Reads a notice and hands on what is to be published.
///
/// # Errors
/// Permanent, naming the field, when the notice cannot be read; what the store says otherwise.
pub async fn handle(deps: &Deps, received: Received) -> Result<Publication> {
    let bytes = deps.store.read_body(&received.body).await?;
    let search = TrackSearch::parse(&bytes).map_err(|error: Error| error.of(&received.body))?;
    for warning in &search.warnings {
        tracing::warn!(ref_id = search.ref_id, superevent.id = %search.superevent_id, "{warning}");
    }
    tracing::info!(
        ref_id = search.ref_id,
        superevent.id = %search.superevent_id,
        events = search.events.len(),
        "read an IceCube track search"
    );
    Ok(Publication::IceCube(search))
}
