//! `Alert → Galaxies`: the galaxies that may host an alert's source, ranked, as the body of `event_galaxies`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use shared::config::{self, Config};
use shared::galaxy::{Catalogue, Ranking, rank};
use shared::key::{Key, Object};
use shared::message::{Alert, Galaxies};
use shared::skymap::MultiOrderMap;
use shared::store::Store;
use shared::treasuremap::bodies::{EventGalaxies, GalaxyEntry};
use shared::{Error, Result};
use tokio::sync::OnceCell;

/// The largest catalogue file that is read [bytes]; NED-LVS has about 1.3 GB.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// What this function touches.
#[derive(Debug)]
pub struct Deps {
    /// Where the map is, where the list goes, and where the catalogue may be.
    pub store: Store,
    /// Which catalogue, and how galaxies are ranked and signed.
    pub galaxies: config::Galaxies,
    /// The catalogue, read once.
    pub catalogue: OnceCell<Arc<Catalogue>>,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// None; the catalogue is read by the first alert that needs it.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store, galaxies: config.galaxies.clone(), catalogue: OnceCell::new() })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Ranks the catalogue's galaxies on the alert's map and writes the list; without a catalogue, a map or a galaxy in
/// the zone there is none, and the answer says why.
///
/// # Errors
/// Permanent, for a catalogue or map that is missing or broken; otherwise what the store says. An alert is posted
/// without its list then.
pub async fn handle(deps: &Deps, alert: Alert) -> Result<Galaxies> {
    let none = |reason: String| Galaxies { name: alert.name.clone(), count: 0, key: None, reason: Some(reason) };
    let Some(source) = &deps.galaxies.catalog else {
        return Ok(none("no catalogue is configured (CATALOG_PATH)".to_owned()));
    };
    let Some(skymap) = &alert.skymap else {
        return Ok(none("the alert has no sky map".to_owned()));
    };
    let map = deps.store.read(skymap).await?;
    let catalogue = deps.catalogue.get_or_try_init(|| load(&deps.store, source)).await?.clone();
    let settings = deps.galaxies.settings.clone();
    let named = format!("sky map `{skymap}`");
    let ranking = blocking(move || {
        let map = MultiOrderMap::decode(&map).map_err(|error| error.of(named))?;
        Ok(rank(&map, &catalogue, &settings))
    })
    .await?;
    if ranking.entries.is_empty() {
        return Ok(none(format!("no galaxy of `{source}` lies in the credible zone, nor in the relaxed one")));
    }
    let count = ranking.entries.len();
    let (in_zone, relaxed) = (ranking.in_zone, ranking.relaxed);
    let key = Object::EventGalaxies(&alert.name).key()?;
    let list = serde_json::to_vec(&body(&deps.galaxies, &alert, ranking))
        .map_err(|error| Error::permanent(format!("object `{key}`: {error}")))?;
    deps.store.put(&key, Bytes::from(list)).await?;
    tracing::info!(alert.name = %alert.name, count, in_zone, relaxed, "galaxies ranked");
    Ok(Galaxies { name: alert.name, count, key: Some(key), reason: None })
}

/// The body of `event_galaxies`.
fn body(signed: &config::Galaxies, alert: &Alert, ranking: Ranking) -> EventGalaxies {
    let entry = |(rank, galaxy): (u32, shared::galaxy::Ranked)| GalaxyEntry {
        name: galaxy.name,
        score: galaxy.score,
        rank,
        ra: galaxy.ra,
        dec: galaxy.dec,
        info: BTreeMap::from([("Mstar".to_owned(), galaxy.mstar), ("Distance [Mpc]".to_owned(), galaxy.dist)]),
    };
    EventGalaxies {
        superevent_id: alert.name.superevent_id.clone(),
        time_sent: alert.time_created,
        groupname: signed.groupname.clone(),
        reference: signed.reference.clone(),
        request_doi: signed.request_doi,
        galaxies: (0..).zip(ranking.entries).map(entry).collect(),
    }
}

/// Reads the catalogue: a file when there is one of that name, else an object of the store.
async fn load(store: &Store, source: &str) -> Result<Arc<Catalogue>> {
    let named = |error: Error| error.of(format!("galaxy catalogue `{source}`"));
    let path = Path::new(source);
    let bytes = match tokio::fs::metadata(path).await {
        Ok(file) if file.len() > MAX_FILE_BYTES => {
            let found = file.len();
            return Err(named(Error::permanent(format!("expected at most {MAX_FILE_BYTES} bytes, found {found}"))));
        }
        Ok(_) => Bytes::from(tokio::fs::read(path).await.map_err(|error| named(Error::permanent(error.to_string())))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let object = match Key::new(source) {
                Ok(key) => store.get(&key).await.map_err(named)?,
                Err(_) => None, // an absolute path, which no object has
            };
            object.ok_or_else(|| named(Error::permanent("expected a file or an object of the store, found neither")))?
        }
        Err(error) => return Err(named(Error::permanent(error.to_string()))),
    };
    let catalogue = blocking(move || Catalogue::read(&bytes)).await.map_err(named)?;
    tracing::info!(catalogue = source, galaxies = catalogue.len(), dropped = %catalogue.dropped(), "galaxy catalogue read");
    Ok(Arc::new(catalogue))
}

/// Runs what takes a processor for long away from the threads that wait for the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::permanent(format!("galaxy ranking: expected it to end, found {error}")))?
}
