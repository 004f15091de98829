//! `Annotatable → AnnotateAnswer`: writes an alert's numbers and tags as JSON, a sky plot, a page, and the pointer to the
//! superevent's newest alert; for an IceCube track search, adds it to the annotations and pages of the superevent's alerts.
//! [`notify`] is the next function: `Annotated → Notified`.
//!
//! It runs after the post and cannot delay it. Its output, except the timings of the first run, depends only on the
//! superevent's alerts and searches, so it is idempotent.

pub mod annotations;
pub mod galaxies;
mod later;
pub mod notify;
pub mod page;
pub mod plot;
mod posted;
pub mod searches;
pub mod sites;
mod superevent;
pub mod tags;
pub mod text;
pub mod versions;
pub mod voevent;

use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Config;
use jiff::Timestamp;
use science::skymap::{Region, decode_once};
use shared::key::{AlertName, Key, Object};
use shared::message::{
    Alert, Annotatable, AnnotateAnswer, Annotated, AnnotatedSearch, Generated, MissingProduct, ProductStatus, Products,
    Role, Settled,
};
use shared::notice::icecube::TrackSearch;
use shared::site::Site;
use shared::{Context, Error, Result};
use store::Store;

use annotations::{Annotations, Link, SkyMap, Timings};
use galaxies::PlottedGalaxy;
use superevent::{Linked, link_all};
use voevent::VoEvent;

/// Number of galaxies on the page.
const LISTED_GALAXIES: usize = 50;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the alert's objects and the annotations.
    pub store: Store,
    /// The sites of the notification rules: annotations have what can be seen from there.
    pub sites: Vec<Site>,
    /// Areas for which the rules want the greatest probability within \[deg²\], beside those of every map.
    pub areas_deg2: Vec<f64>,
    /// Author and stream of the VOEvents; none are written without.
    pub voevent_stream: Option<String>,
    /// URL below which others can read the store.
    pub objects_url: Option<String>,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the signature is that of the other functions.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps {
            store,
            sites: config.notify.sites(),
            areas_deg2: config.notify.areas_deg2(),
            voevent_stream: config.voevent_stream.clone(),
            objects_url: config.objects_url.clone(),
        })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`] and [`Deps::new`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Annotates an alert, or the alerts of a track search's superevent.
///
/// # Errors
/// Those of [`alert`] and [`search`].
pub async fn handle(deps: &Deps, annotatable: Annotatable) -> Result<AnnotateAnswer> {
    match annotatable {
        Annotatable::Alert(settled) => alert(deps, *settled).await.map(AnnotateAnswer::Alert),
        Annotatable::Search { icecube } => search(deps, &icecube).await.map(AnnotateAnswer::Search),
    }
}

/// Adds a stored track search to the annotations and pages of its superevent's alerts; without alerts, changes nothing.
///
/// # Errors
/// The store's.
pub async fn search(deps: &Deps, search: &TrackSearch) -> Result<AnnotatedSearch> {
    let TrackSearch { ref_id, superevent_id, .. } = search;
    let Linked { changed, objects, .. } = Box::pin(link_all(deps, superevent_id, None)).await?;
    tracing::info!(ref_id, %superevent_id, changed = changed.len(), "annotated the alerts of a track search");
    Ok(AnnotatedSearch { ref_id: ref_id.clone(), superevent_id: superevent_id.clone(), objects, changed })
}

/// Writes an alert's annotations, plot and page, updates those of the superevent's other alerts, and the pointer to the
/// newest. Unreadable annotations of other alerts are ignored, and listed in the annotations as `unread`.
///
/// # Errors
/// Permanent, when the alert's map cannot be decoded; otherwise the store's.
pub async fn alert(deps: &Deps, settled: Settled) -> Result<Annotated> {
    let Settled { alert, products, galaxies, .. } = settled;
    let listed = read_galaxies(deps, &alert).await?;
    let analysis = analyse(deps, &alert, products.as_ref(), listed.clone(), galaxies.map(|made| made.count)).await?;
    let mut objects = Vec::new();
    let mut own = analysis.annotations;
    own.objects = links(deps, &alert, products.as_ref()).await?;
    own.map_of = products.as_ref().and_then(|products| products.map_of.clone());
    own.coverage = products.as_ref().map(|products| products.coverage.clone()).unwrap_or_default();
    own.missing = missing(deps, &alert.name, products.as_ref()).await?;
    if let Some(plot) = analysis.plot {
        for (kind, object, bytes) in [
            ("plot_svg", Object::PlotSvg(&alert.name), Bytes::from(plot.svg)),
            ("plot_png", Object::PlotPng(&alert.name), Bytes::from(plot.png)),
        ] {
            let key = object.key()?;
            own.objects.push(Link::of(kind, &key, &bytes));
            objects.push(write_if_changed(deps, key, bytes).await?.0);
        }
    }
    let linked = Box::pin(link_all(deps, &alert.name.superevent_id, Some(own))).await?;
    let (own, changed) = (linked.own, linked.changed);
    let own = own.ok_or_else(|| Error::permanent("expected the alert among its superevent's"))?;
    objects.extend(linked.objects);
    tracing::info!(
        alert_name = %alert.name,
        sequence = own.sequence,
        changed = changed.len(),
        plot_ms = own.timings.plot_ms,
        "annotated an alert"
    );
    let (sequence, notifications, unmet) = (own.sequence, Vec::new(), Vec::new());
    Ok(Annotated { name: alert.name, sequence, objects, changed, notifications, unmet })
}

/// The products that were not made. The reason that was given first stays, so that a repeat changes nothing.
async fn missing(deps: &Deps, name: &AlertName, products: Option<&Products>) -> Result<Vec<MissingProduct>> {
    let stored = deps.store.get(&Object::Annotations(name).key()?).await?;
    let before = stored.and_then(|bytes| serde_json::from_slice::<Annotations>(&bytes).ok());
    let before = before.map(|annotations| annotations.missing).unwrap_or_default();
    let now = products.map(Products::missing).unwrap_or_default().into_iter();
    Ok(now.map(|now| before.iter().find(|before| before.product == now.product).cloned().unwrap_or(now)).collect())
}

/// Annotations and plot of an alert.
struct Analysis {
    annotations: Annotations,
    plot: Option<PlotFiles>,
}

struct PlotFiles {
    svg: String,
    png: Vec<u8>,
}

/// Decodes the map once, for numbers and plot, on a blocking thread.
async fn analyse(
    deps: &Deps,
    alert: &Alert,
    products: Option<&Products>,
    galaxies: Vec<PlottedGalaxy>,
    count: Option<usize>,
) -> Result<Analysis> {
    let first = match deps.store.get(&Object::Annotations(&alert.name).key()?).await? {
        // Unreadable annotations are overwritten.
        Some(bytes) => serde_json::from_slice::<Annotations>(&bytes).ok().map(|annotations| annotations.timings),
        None => None,
    };
    let count = count.filter(|count| *count > 0);
    let begun = Timings {
        annotated: Timestamp::now(),
        signal_to_notice_s: alert.time_of_signal.map(|signal| seconds(signal, alert.time_created)),
        notice_to_annotations_s: 0.0,
        numbers_ms: 0.0,
        plot_ms: 0.0,
    };
    let ended = move |mut timings: Timings, alert: &Alert| {
        timings.annotated = Timestamp::now();
        timings.notice_to_annotations_s = seconds(alert.time_created, timings.annotated);
        first.unwrap_or(timings)
    };
    let map = match &alert.skymap {
        Some(key) => match deps.store.get(key).await? {
            // The GWTM deletes the files of old mock alerts on request.
            None if alert.role == Role::Test => None,
            None => Some((key, deps.store.read(key).await?)),
            Some(map) => Some((key, map)),
        },
        None => None,
    };
    let Some((key, map)) = map else {
        let timings = ended(begun, alert);
        return Ok(Analysis { annotations: Annotations::new(alert, None, count, timings), plot: None });
    };
    let named = format!("sky map `{key}`");
    let gbm = coverage(deps, products, Object::FermiGbm(&alert.name.superevent_id)).await?;
    let lat = coverage(deps, products, Object::FermiLat(&alert.name.superevent_id)).await?;
    let alert = alert.clone();
    let Deps { sites, areas_deg2, .. } = deps.clone();
    let work = move || {
        let map = decode_once(&map).map_err(|error| error.of(named))?;
        let scene = plot::Scene { map: &map, gbm, lat, galaxies: &galaxies };
        // Numbers and panels are independent, and so are the two files.
        let ((numbers_took, (skymap, views)), (panels_took, panels)) = rayon::join(
            || timed(|| (SkyMap::of(&map, &areas_deg2), sites::views(&map, &sites, alert.time_created))),
            || timed(|| plot::draw(&scene)),
        );
        let mut annotations = Annotations::new(&alert, Some(skymap), count, begun);
        annotations.sites = views;
        let (files_took, plot) = timed(|| {
            let plot = panels?.with_numbers(&annotations);
            let (svg, png) = rayon::join(|| plot.svg(), || plot.png());
            Ok::<_, Error>(PlotFiles { svg, png: png? })
        });
        let plot = plot.inspect_err(|error| tracing::error!(alert_name = %alert.name, "no plot: {error}")).ok();
        let (numbers_ms, plot_ms) = (milliseconds(numbers_took), milliseconds(panels_took + files_took));
        annotations.timings = ended(Timings { numbers_ms, plot_ms, ..begun }, &alert);
        Ok(Analysis { annotations, plot })
    };
    runtime::blocking("plot", work).await
}

/// The coverage of a spacecraft, if it exists.
async fn coverage(deps: &Deps, products: Option<&Products>, object: Object<'_>) -> Result<Option<Region>> {
    let key = object.key()?;
    let made = products.iter().flat_map(|products| &products.products).any(|product| {
        matches!(&product.status, ProductStatus::Written { key: made, .. } | ProductStatus::AlreadyThere { key: made } if *made == key)
    });
    if !made {
        return Ok(None);
    }
    let bytes = deps.store.get(&key).await?;
    Ok(bytes.and_then(|bytes| {
        Region::from_json(&bytes).inspect_err(|error| tracing::warn!(object_key = %key, "not drawn: {error}")).ok()
    }))
}

async fn read_galaxies(deps: &Deps, alert: &Alert) -> Result<Vec<PlottedGalaxy>> {
    let key = Object::GalaxiesCsv(&alert.name).key()?;
    match deps.store.get(&key).await? {
        Some(table) => galaxies::first(&table, LISTED_GALAXIES).map_err(|error| error.of(format!("object `{key}`"))),
        None => Ok(Vec::new()),
    }
}

/// The existing objects of an alert that were made before its annotations.
async fn links(deps: &Deps, alert: &Alert, products: Option<&Products>) -> Result<Vec<Link>> {
    let mut wanted = vec![("notice".to_owned(), Object::Notice(&alert.name).key()?)];
    wanted.extend(alert.skymap.iter().map(|key| ("multi_order_map".to_owned(), key.clone())));
    for product in products.iter().flat_map(|products| &products.products) {
        if let ProductStatus::Written { key, .. } | ProductStatus::AlreadyThere { key } = &product.status {
            wanted.push((Link::kind_of(product.product), key.clone()));
        }
    }
    wanted.push(("galaxies_csv".to_owned(), Object::GalaxiesCsv(&alert.name).key()?));
    wanted.push(("post_alert".to_owned(), Object::PostAlert(&alert.name).key()?));
    let read = wanted.into_iter().map(async |(kind, key)| {
        let bytes = deps.store.get(&key).await?;
        Ok::<_, Error>(bytes.map(|bytes| Link::of(&kind, &key, &bytes)))
    });
    let read = futures::future::try_join_all(read).await?;
    Ok(read.into_iter().flatten().collect())
}

/// Writes an alert's VOEvent and page, and its annotations with the links to them; returns whether any changed.
/// `linked`: the superevent's alerts in their order.
async fn publish(deps: &Deps, annotations: &mut Annotations, linked: &[Annotations]) -> Result<(Vec<Generated>, bool)> {
    const PAGE: &str = "page";
    let name = annotations.name.clone();
    annotations.objects.retain(|link| link.kind != PAGE);
    let mut written = Vec::new();
    if let Some(stream) = &deps.voevent_stream {
        written.push(write_voevent(deps, stream, annotations, linked).await?);
    }
    let plot = deps.store.get(&Object::PlotSvg(&name).key()?).await?;
    let table = deps.store.get(&Object::GalaxiesCsv(&name).key()?).await?;
    let galaxies = table.map(|table| galaxies::first(&table, LISTED_GALAXIES)).transpose();
    // An unreadable list only removes the galaxies from the page.
    let galaxies = galaxies.inspect_err(|error| tracing::error!(alert_name = %name, "page without galaxies: {error}"));
    let galaxies = galaxies.unwrap_or_default().unwrap_or_default();
    let page = page::html(annotations, plot.as_deref(), &galaxies);
    let key = Object::Page(&name).key()?;
    let page = Bytes::from(page);
    annotations.objects.push(Link::of(PAGE, &key, &page));
    written.push(write_if_changed(deps, key, page).await?);
    written.push(write_if_changed(deps, Object::Annotations(&name).key()?, json(annotations)?).await?);
    let is_new = written.iter().any(|(_, is_new)| *is_new);
    Ok((written.into_iter().map(|(made, _)| made).collect(), is_new))
}

/// Writes an alert's VOEvent and links it in the annotations; returns whether it changed.
async fn write_voevent(
    deps: &Deps,
    stream: &str,
    annotations: &mut Annotations,
    linked: &[Annotations],
) -> Result<(Generated, bool)> {
    const VOEVENT: &str = "voevent";
    let key = Object::VoEvent(&annotations.name).key()?;
    let earlier = linked.iter().position(|other| other.name == annotations.name).unwrap_or_default();
    let maps = voevent::Maps::find(&deps.store, deps.objects_url.as_deref(), annotations, linked).await?;
    let document = VoEvent::new(stream, annotations, &linked[..earlier], &maps).to_xml()?;
    let document = Bytes::from(document);
    annotations.objects.retain(|link| link.kind != VOEVENT);
    annotations.objects.push(Link::of(VOEVENT, &key, &document));
    write_if_changed(deps, key, document).await
}

/// Writes an object unless it is unchanged; returns whether it was written.
async fn write_if_changed(deps: &Deps, key: Key, bytes: Bytes) -> Result<(Generated, bool)> {
    let size = bytes.len() as u64;
    let is_new = deps.store.put_if_changed(&key, bytes).await?;
    Ok((Generated { key, size }, is_new))
}

fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    let mut bytes = serde_json::to_vec_pretty(value).permanent("annotations")?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Duration and result of work.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let result = work();
    (begun.elapsed(), result)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
