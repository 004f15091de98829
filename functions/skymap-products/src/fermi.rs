//! Coverage products of Fermi: fetches, stores and writes for `science::visibility`.
//!
//! Fetched orbits and pointings stay in the store (`fermi/tle/`, `fermi/ft2/`), so that a replay finds those of its
//! day. A failure costs the product, never the alert, and at most [`crate::once::TIMEOUT`].

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Fermi;
use jiff::Timestamp;
use science::visibility::fermi;
use science::visibility::ft2::{self, FileName, Pointings};
use science::visibility::orbit::{self, Tle};
use shared::key::{Key, Object, Parsed, SupereventId};
use shared::message::{Certainty, ProductKind};
use shared::{Context, Error, Result};
use store::Store;
use tokio::io::AsyncReadExt;

use crate::downloads::{Downloads, NETWORK_TIMEOUT};
use crate::once::{Covered, Made, Upgrade, once};

/// Largest difference between event and epoch for which a stored TLE is used without fetching [days].
const NEAR_ENOUGH_DAYS: f64 = 1.0;
/// Lifetime of a fetched TLE in memory; CelesTrak updates every two hours and asks not to be polled more often.
const TLE_MAX_CACHE_AGE: Duration = Duration::from_secs(2 * 3600); // https://celestrak.org/NORAD/documentation/gp-data-formats.php
/// Names of weekly spacecraft files, for error messages.
const EXAMPLE_NAMES: &str =
    "`FERMI_POINTING_FINAL_781_2023138_2023145_00.fits` or `lat_spacecraft_weekly_w781_p310_v001.fits`";
/// Limit on the warnings about one file of TLEs.
const MAX_WARNINGS: usize = 5;
/// Limit on a downloaded response with TLEs [bytes]; one set has 168.
const MAX_TLE_RESPONSE_BYTES: usize = 1 << 20;

/// Sources of orbit and pointing. Clones are cheap and share the downloads.
#[derive(Debug, Clone)]
pub struct Sources {
    settings: Fermi,
    downloads: Downloads,
    recent: Arc<Mutex<Option<Fetched>>>,
}

/// Element sets with the time when they were fetched.
type Fetched = (Instant, Vec<Tle>);

impl Sources {
    /// Sources named by the settings.
    ///
    /// # Errors
    /// Permanent, when the HTTP client cannot be set up.
    pub fn new(settings: &Fermi) -> Result<Self> {
        Ok(Sources { settings: settings.clone(), downloads: Downloads::new()?, recent: Arc::default() })
    }
}

/// The sky seen by GBM and LAT at the time of a signal: both products, each written, already there, or missing with the
/// reason. Made once per superevent; a later alert makes missing ones, and replaces LAT's planned one by that of a measured
/// file, once.
///
/// `time`: the time of the signal; a retraction has none.
pub async fn coverage(
    sources: &Sources,
    store: &Store,
    superevent: &SupereventId,
    time: Option<Timestamp>,
) -> [Covered; 2] {
    let deadline = Instant::now() + NETWORK_TIMEOUT;
    let gbm = async |_| {
        let time = time.ok_or_else(no_time)?;
        let orbit = orbit(sources, store, time, deadline).await?;
        match fermi::gbm(&orbit.tle, time, sources.settings.tle_max_age_days) {
            Ok(sky) => Ok(Made { sky, source: orbit.describe(time), certainty: Some(Certainty::Predicted) }),
            Err(error) => Err(match orbit.fetch_error {
                Some(fetch_error) => Error::permanent(format!("{error}; {fetch_error}")),
                None => error,
            }),
        }
    };
    let lat = async |only_final| {
        let time = time.ok_or_else(no_time)?;
        let ((ra, dec), file) = pointing(sources, store, time, deadline, only_final).await?;
        Ok(Made {
            sky: fermi::lat(ra, dec),
            source: format!("{}: LAT's axis at RA {ra:.3}°, Dec {dec:.3}°", file.name),
            certainty: Some(if file.is_measured { Certainty::Final } else { Certainty::Planned }),
        })
    };
    // Every orbit of GBM's is a prediction.
    let gbm = once(store, ProductKind::FermiGbm, superevent, Upgrade::Never, gbm);
    let lat = once(store, ProductKind::FermiLat, superevent, Upgrade::Possible, lat);
    tokio::join!(gbm, lat).into()
}

/// Age and source of Fermi's orbit at a time, for monitoring.
///
/// # Errors
/// Permanent, when there is no orbit or it is older than the settings allow; Retryable, when it cannot be fetched.
pub async fn orbit_age(sources: &Sources, store: &Store, time: Timestamp) -> Result<String> {
    let orbit = orbit(sources, store, time, Instant::now() + NETWORK_TIMEOUT).await?;
    let (days, limit) = (orbit.tle.age(time).as_secs_f64() / 86_400.0, sources.settings.tle_max_age_days);
    let text = format!("{days:.1} days old, from {}", orbit.from);
    if days.abs() > limit {
        return Err(Error::permanent(format!("expected an epoch within {limit} days, found one {text}")));
    }
    Ok(text)
}

pub(crate) fn no_time() -> Error {
    Error::permanent("the alert has no time of signal")
}

/// A TLE and its source.
struct Orbit {
    tle: Tle,
    from: String,
    /// Why a nearer one is not available.
    fetch_error: Option<Error>,
}

impl Orbit {
    fn describe(&self, time: Timestamp) -> String {
        let hours = self.tle.age(time).as_secs_f64() / 3600.0;
        format!(
            "{} of epoch {}, {:.1} h {} the signal, from {}",
            if self.tle.is_synthetic() { "synthetic TLE" } else { "TLE" },
            orbit::epoch_name(self.tle.epoch()),
            hours.abs(),
            if hours < 0.0 { "after" } else { "before" },
            self.from
        )
    }
}

/// The TLE nearest to a time: from the file, if configured; else a stored one that is near enough; else the nearest of
/// stored and fetched ones.
async fn orbit(sources: &Sources, store: &Store, time: Timestamp, deadline: Instant) -> Result<Orbit> {
    if let Some(path) = &sources.settings.tle_file {
        let from = format!("file `{}`", path.display());
        let text = read_file(path, orbit::MAX_TEXT_BYTES).await.map_err(|error| error.of(&from))?;
        return nearest(element_sets(&text, &from)?, from, time);
    }
    let mut fetch_error = None;
    let kept = stored_tle(store, time).await.unwrap_or_else(|error| {
        fetch_error = Some(error);
        None
    });
    if let Some(tle) = &kept
        && tle.age(time).abs().as_secs_f64() <= NEAR_ENOUGH_DAYS * 86_400.0
    {
        return Ok(Orbit { tle: tle.clone(), from: "the store".to_owned(), fetch_error });
    }
    let Some(url) = &sources.settings.tle_url else {
        let none = || Error::permanent("the store has no TLE, and FERMI_TLE_URL is `none`");
        let tle = kept.ok_or_else(|| fetch_error.take().unwrap_or_else(none))?;
        return Ok(Orbit { tle, from: "the store".to_owned(), fetch_error });
    };
    match fetched_tles(sources, url, deadline).await {
        Ok(sets) => {
            let fetched = nearest(sets, format!("`{}`", http_client::shown(url)), time)?;
            store_tle(store, &fetched.tle).await;
            Ok(match kept {
                Some(tle) if tle.age(time).abs() <= fetched.tle.age(time).abs() => {
                    Orbit { tle, from: "the store".to_owned(), fetch_error }
                }
                _ => fetched,
            })
        }
        Err(error) => match kept {
            Some(tle) => Ok(Orbit { tle, from: "the store".to_owned(), fetch_error: Some(error) }),
            None => Err(error),
        },
    }
}

/// The valid element sets of a text; logs a warning for each broken one.
fn element_sets(text: &[u8], from: &str) -> Result<Vec<Tle>> {
    let (sets, broken) = Tle::parse_with_warnings(text).map_err(|error| error.of(from))?;
    for error in broken.iter().take(MAX_WARNINGS) {
        tracing::warn!("{from}: element set left out: {error}");
    }
    if let more @ 1.. = broken.len().saturating_sub(MAX_WARNINGS) {
        tracing::warn!("{from}: {more} more element sets left out");
    }
    Ok(sets)
}

fn nearest(sets: Vec<Tle>, from: String, time: Timestamp) -> Result<Orbit> {
    let tle = Tle::nearest(sets, time).ok_or_else(|| Error::permanent(format!("{from}: found no TLE")))?;
    Ok(Orbit { tle, from, fetch_error: None })
}

/// The stored TLE whose epoch is nearest to a time.
async fn stored_tle(store: &Store, time: Timestamp) -> Result<Option<Tle>> {
    let keys = store.keys("fermi/tle/").await?;
    let epoch = |key: &Key| match Parsed::of(key)?.object() {
        Object::FermiTle(epoch) => orbit::parse_epoch_name(epoch),
        _ => None,
    };
    let nearest = keys
        .into_iter()
        .filter_map(|key| Some((time.duration_since(epoch(&key)?).abs(), key)))
        .min_by_key(|(age, _)| *age);
    let Some((_, key)) = nearest else { return Ok(None) };
    let sets = element_sets(&store.read(&key).await?, &format!("object `{key}`"))?;
    Ok(Tle::nearest(sets, time))
}

/// Stores a TLE for later alerts and replays. Best effort: this alert does not need it.
async fn store_tle(store: &Store, tle: &Tle) {
    let kept = async {
        let key = Object::FermiTle(&orbit::epoch_name(tle.epoch())).key()?;
        if store.head(&key).await?.is_none() {
            store.put(&key, tle.text().into()).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, "failed to store Fermi's TLE");
    }
}

async fn fetched_tles(sources: &Sources, url: &str, deadline: Instant) -> Result<Vec<Tle>> {
    let recent = sources.recent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((when, sets)) = recent
        && when.elapsed() < TLE_MAX_CACHE_AGE
    {
        return Ok(sets);
    }
    let text = sources.downloads.get(url, MAX_TLE_RESPONSE_BYTES, deadline).await?;
    let sets = element_sets(&text, &format!("`{}`", http_client::shown(url)))?;
    *sources.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), sets.clone()));
    Ok(sets)
}

/// The direction of LAT's axis, (right ascension, declination) [deg], and its file: from the folder, if configured; else
/// from a final file in the store, or only from a measured one (`only_measured`); else from the best file of the listing,
/// or of the store when there is no listing.
async fn pointing(
    sources: &Sources,
    store: &Store,
    time: Timestamp,
    deadline: Instant,
    only_measured: bool,
) -> Result<((f64, f64), FileName)> {
    if let Some(folder) = &sources.settings.ft2_dir {
        let from = format!("folder `{}`", folder.display());
        let names = files_of(folder).await.map_err(|error| error.of(&from))?;
        let read = async |file: &FileName| read_file(&folder.join(&file.name), ft2::MAX_FILE_BYTES).await;
        return first_pointing(&names, &from, time, read).await;
    }
    let file_name = |key: &Key| match Parsed::of(key)?.object() {
        Object::FermiFt2(file) => FileName::parse(file),
        _ => None,
    };
    let kept: Vec<FileName> = match store.keys("fermi/ft2/").await {
        Ok(keys) => keys.iter().filter_map(file_name).collect(),
        Err(error) => {
            tracing::warn!(%error, "failed to list the stored spacecraft files of Fermi");
            Vec::new()
        }
    };
    let from_store = async |file: &FileName| store.read(&Object::FermiFt2(&file.name).key()?).await;
    if ft2::candidates(&kept, time)
        .first()
        .is_some_and(|file| if only_measured { file.is_measured } else { file.is_final })
        && let Ok(found) = first_pointing(&kept, "the store", time, from_store).await
    {
        return Ok(found);
    }
    let Some(url) = &sources.settings.ft2_url else {
        let from = "the store (FERMI_FT2_URL is `none`)";
        return first_pointing(&kept, from, time, from_store).await;
    };
    let page = sources.downloads.get(url, ft2::MAX_LISTING_BYTES, deadline).await;
    let names = page.and_then(|page| {
        let names = ft2::listing(&page);
        if names.is_empty() {
            return Err(Error::permanent(format!(
                "`{}`: expected a listing with names such as {EXAMPLE_NAMES}, found none",
                http_client::shown(url)
            )));
        }
        Ok(names)
    });
    let names = match names {
        Ok(names) => names,
        Err(error) => return first_pointing(&kept, "the store", time, from_store).await.map_err(|_| error),
    };
    let fetched = async |file: &FileName| {
        if kept.contains(file)
            && let Ok(bytes) = from_store(file).await
            && Pointings::read(&bytes).is_ok()
        {
            return Ok(bytes);
        }
        let url = format!("{}/{}", url.trim_end_matches('/'), file.name);
        let bytes = sources.downloads.get(&url, ft2::MAX_FILE_BYTES, deadline).await?;
        // Store only readable files.
        Pointings::read(&bytes)?;
        let kept = async { store.put(&Object::FermiFt2(&file.name).key()?, bytes.clone()).await };
        if let Err(error) = kept.await {
            tracing::warn!(%error, file = file.name, "failed to store a spacecraft file of Fermi");
        }
        Ok(bytes)
    };
    first_pointing(&names, &format!("`{}`", http_client::shown(url)), time, fetched).await
}

/// The pointing from the first file that has one for the time.
async fn first_pointing(
    names: &[FileName],
    from: &str,
    time: Timestamp,
    read: impl AsyncFn(&FileName) -> Result<Bytes>,
) -> Result<((f64, f64), FileName)> {
    let mut first_error = None;
    for file in ft2::candidates(names, time) {
        let found = match read(&file).await {
            Ok(bytes) => Pointings::read(&bytes).and_then(|pointings| pointings.at(time)),
            Err(error) => Err(error),
        };
        match found {
            Ok(direction) => return Ok((direction, file)),
            Err(error) => _ = first_error.get_or_insert(error.of(format!("`{}`", file.name))),
        }
    }
    Err(first_error.unwrap_or_else(|| {
        Error::permanent(match names.len() {
            0 => format!("{from}: expected weekly spacecraft files such as {EXAMPLE_NAMES}, found none"),
            n => format!("{from}: expected a spacecraft file of the week of {time}, found {n} of other weeks"),
        })
    }))
}

/// The spacecraft files of a folder.
async fn files_of(folder: &Path) -> Result<Vec<FileName>> {
    let mut entries = tokio::fs::read_dir(folder).await.permanent("cannot be read")?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.permanent("cannot be read")? {
        names.extend(entry.file_name().to_str().and_then(FileName::parse));
    }
    names.sort();
    Ok(names)
}

pub(crate) async fn read_file(path: &Path, max_bytes: usize) -> Result<Bytes> {
    let file = tokio::fs::File::open(path).await.permanent("cannot be read")?;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).await.permanent("cannot be read")?;
    if bytes.len() > max_bytes {
        return Err(Error::permanent(format!("expected at most {max_bytes} bytes, found more")));
    }
    Ok(bytes.into())
}
