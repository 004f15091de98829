//! `Alert → Galaxies`: ranks possible host galaxies of an alert, as the body of `event_galaxies`.

pub mod indexed;
pub mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use config::Config;
use science::galaxy::{self, Catalogue, Columns, Ranked, Ranking};
use science::skymap::{MultiOrderMap, decode_once};
use shared::key::Object;
use shared::message::{Alert, Galaxies, Role};
use shared::{Context, Error, Result};
use store::Store;
use tokio::sync::OnceCell;
use treasuremap::bodies::{EventGalaxies, GalaxyEntry};

use crate::source::CatalogueSource;

/// The function's dependencies.
#[derive(Debug)]
pub struct Deps {
    /// Holds the map, the list, and possibly the catalogue.
    pub store: Store,
    /// Name of the catalogue, and settings of ranking and signature.
    pub galaxies: config::GalaxySettings,
    /// A catalogue without index, cached after the first read.
    pub catalogue: OnceCell<Arc<Catalogue>>,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the catalogue is read by the first alert that needs it.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store, galaxies: config.galaxies.clone(), catalogue: OnceCell::new() })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Ranks the catalogue's galaxies on the alert's map and writes the list. Without a catalogue, a map or a galaxy in the
/// zone, returns the reason instead.
///
/// # Errors
/// Permanent, for a missing or corrupt catalogue or map; otherwise the store's. The alert is then posted without its
/// list.
pub async fn handle(deps: &Deps, alert: Alert) -> Result<Galaxies> {
    let none = |reason: String| Galaxies { name: alert.name.clone(), count: 0, key: None, reason: Some(reason) };
    let Some(source) = &deps.galaxies.catalog else {
        return Ok(none("no catalogue is configured (CATALOG_PATH)".to_owned()));
    };
    let Some(skymap) = &alert.skymap else {
        return Ok(none("the alert has no sky map".to_owned()));
    };
    let map = match deps.store.get(skymap).await? {
        // The GWTM deletes the files of old mock alerts on request.
        None if alert.role == Role::Test => return Ok(none("the mock alert's map was deleted".to_owned())),
        None => deps.store.read(skymap).await?,
        Some(map) => map,
    };
    let named = format!("sky map `{skymap}`");
    let decode = move || decode_once(&map).map_err(|error| error.of(named));
    let map = runtime::blocking("galaxy ranking", decode).await?;
    let ranking = ranking(deps, source, map).await.map_err(|error| error.of(format!("galaxy catalogue `{source}`")))?;
    if ranking.entries.is_empty() {
        return Ok(none(format!("no galaxy of `{source}` lies in the credible zone, nor in the relaxed one")));
    }
    let count = ranking.entries.len();
    let (in_zone, relaxed) = (ranking.in_zone, ranking.relaxed);
    let key = Object::EventGalaxies(&alert.name).key()?;
    let table = galaxy::csv(&ranking)?;
    let list = serde_json::to_vec(&body(&deps.galaxies, &alert, ranking)).permanent(format_args!("object `{key}`"))?;
    deps.store.put(&key, Bytes::from(list)).await?;
    deps.store.put(&Object::GalaxiesCsv(&alert.name).key()?, Bytes::from(table)).await?;
    tracing::info!(alert_name = %alert.name, count, in_zone, relaxed, "ranked galaxies");
    Ok(Galaxies { name: alert.name, count, key: Some(key), reason: None })
}

/// The body of `event_galaxies`.
fn body(signed: &config::GalaxySettings, alert: &Alert, ranking: Ranking) -> EventGalaxies {
    let entry = |(rank, galaxy): (u32, Ranked)| GalaxyEntry {
        name: galaxy.name,
        score: galaxy.score,
        rank,
        ra: galaxy.ra,
        dec: galaxy.dec,
        // The website shows `dist` as "Dist (Mpc)" and every other key verbatim.
        info: BTreeMap::from([
            ("dist".to_owned(), significant(galaxy.dist, 4)),
            ("log10(Mstar)".to_owned(), significant(galaxy.mstar.log10(), 4)),
        ]),
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

/// Rounds to significant digits; 0 and non-finite numbers are returned unchanged.
fn significant(number: f64, digits: i32) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let after_the_point = digits - 1 - number.abs().log10().floor() as i32;
    format!("{number:.*}", usize::try_from(after_the_point).unwrap_or_default()).parse().unwrap_or(number)
}

/// Ranks from the index, or from a catalogue without one, which is read whole and cached.
async fn ranking(deps: &Deps, name: &str, map: Arc<MultiOrderMap>) -> Result<Ranking> {
    let settings = Arc::new(deps.galaxies.settings.clone());
    if deps.catalogue.get().is_none() {
        let source = CatalogueSource::find(&deps.store, name).await?;
        if let Some(index) = source.index().await? {
            let ranking = indexed::rank(&source, index, map, &settings).await?;
            let (requests, bytes) = source.reads();
            tracing::info!(catalogue = name, requests, bytes, of = source.size(), "read galaxy index");
            return Ok(ranking);
        }
        deps.catalogue.get_or_try_init(|| load(&source, name)).await?;
    }
    let catalogue = deps.catalogue.get().cloned().ok_or_else(|| Error::permanent("expected a loaded catalogue"))?;
    runtime::blocking("galaxy ranking", move || Ok(galaxy::rank(&map, &catalogue, &settings))).await
}

/// Reads a catalogue without an index.
async fn load(source: &CatalogueSource, name: &str) -> Result<Arc<Catalogue>> {
    let catalogue = source.read_whole(&Columns::default()).await?;
    let (galaxies, dropped) = (catalogue.len(), catalogue.dropped());
    for warning in catalogue.warnings() {
        tracing::warn!(catalogue = name, "{warning}");
    }
    tracing::warn!(
        catalogue = name, galaxies, %dropped,
        "read the whole galaxy catalogue because it has no index; build one with `gwtm catalog build {name} --out \
         galaxy_catalog/galaxies.parquet`, and set CATALOG_PATH to it"
    );
    Ok(Arc::new(catalogue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_significant_digits() {
        for (number, expected) in [
            (144.508_123, 144.5),
            (0.004_321_99, 0.004_322),
            (9.999_99, 10.0),
            (12_345.6, 12_346.0),
            (11.150_234, 11.15),
            (0.0, 0.0),
        ] {
            assert_eq!(significant(number, 4).to_string(), expected.to_string());
        }
        assert!(significant(f64::NEG_INFINITY, 4).is_infinite());
    }
}
