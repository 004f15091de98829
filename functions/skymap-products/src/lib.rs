//! `Alert → Products`: flat map, contours, credible regions, and coverage of Fermi and Swift; each is written, or
//! missing with a reason.

mod downloads;
pub mod fermi;
mod last;
pub mod once;
pub mod swift_bat;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use config::Config;
use science::skymap::{MultiOrderMap, contour, decode_once, flat};
use shared::key::AlertName;
use shared::message::{Alert, Product, ProductKind, ProductStatus, Products, Role};
use shared::{Error, Result};
use store::Store;

use fermi::Sources;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the map and the products.
    pub store: Store,
    /// Finest HEALPix order of the flat map; `None` disables it.
    pub flat_max_order: Option<u8>,
    /// Sources of Fermi's orbit and pointing.
    pub fermi: Sources,
    /// Sources of Swift's pointing.
    pub swift: swift_bat::SwiftSources,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Permanent, when the HTTP client cannot be set up.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps {
            store,
            flat_max_order: config.flat_max_order,
            fermi: Sources::new(&config.fermi)?,
            swift: swift_bat::SwiftSources::new(&config.swift)?,
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

/// Makes every product that the alert allows; the others are missing with a reason.
///
/// # Errors
/// Permanent, when the alert's map is not in the store or cannot be decoded; otherwise the store's. Products that do
/// not need the map are made anyway.
pub async fn handle(deps: &Deps, alert: Alert) -> Result<Products> {
    let from_map = async {
        // Permanent, so that the alert is dead-lettered and a retry by a later version makes the missing products.
        if let Some(error) = &alert.skymap_error {
            return Err(Error::permanent(format!("sky map cannot be decoded: {error}")));
        }
        let Some(key) = &alert.skymap else { return Box::pin(without_map(deps, &alert)).await };
        let max_order = deps.flat_max_order;
        let drawn = match deps.store.get(key).await? {
            // The GWTM deletes the files of old mock alerts on request.
            None if alert.role == Role::Test => {
                return Ok((
                    GENERATORS.map(|(kind, _)| missing(kind, "the mock alert's map was deleted")).into(),
                    None,
                ));
            }
            None => deps.store.read(key).await?,
            Some(map) => map,
        };
        let generated = runtime::blocking("products", move || generate(&drawn, max_order)).await;
        let mut products =
            store_products(deps, &alert, generated.map_err(|error| error.of(format!("sky map `{key}`")))?).await?;
        if max_order.is_none() {
            products.insert(0, missing(ProductKind::FlatMap, "flat maps are disabled (FLAT_MAX_ORDER=none)"));
        }
        Ok::<_, Error>((products, None))
    };
    let (superevent, time) = (&alert.name.superevent_id, alert.time_of_signal);
    let fermi = fermi::coverage(&deps.fermi, &deps.store, superevent, time);
    let swift = swift_bat::coverage(&deps.swift, &deps.store, superevent, time);
    let (from_map, fermi, swift) = tokio::join!(from_map, fermi, swift);
    let (mut products, map_of): (Vec<Product>, Option<AlertName>) = from_map?;
    let mut coverage = Vec::new();
    for covered in fermi.into_iter().chain([swift]) {
        products.push(covered.product);
        coverage.extend(covered.coverage);
    }
    let missing: Vec<String> = products.iter().filter_map(missing_because).collect();
    tracing::info!(alert_name = %alert.name, products = products.len() - missing.len(), ?missing, "made the products");
    Ok(Products { name: alert.name, products, map_of, coverage })
}

/// Products of an alert without a map of its own: the superevent's last contours and flat map, and their alert.
async fn without_map(deps: &Deps, alert: &Alert) -> Result<(Vec<Product>, Option<AlertName>)> {
    let none = "the notice carries no sky map";
    let Some((of, files)) = last::find(&deps.store, &alert.name.superevent_id).await? else {
        return Ok((GENERATORS.map(|(kind, _)| missing(kind, none)).into(), None));
    };
    let mut kept = store_products(deps, alert, files).await?;
    for product in &mut kept {
        if let ProductStatus::Written { source, .. } = &mut product.status {
            *source = Some(format!("of {of}"));
        }
    }
    let products = GENERATORS.map(|(kind, _)| {
        kept.iter().find(|product| product.product == kind).cloned().unwrap_or_else(|| missing(kind, none))
    });
    Ok((products.into(), Some(of)))
}

fn missing_because(product: &Product) -> Option<String> {
    match &product.status {
        ProductStatus::Missing { reason } | ProductStatus::Failed { reason } => {
            Some(format!("{}: {reason}", product.product.label()))
        }
        ProductStatus::Written { .. } | ProductStatus::AlreadyThere { .. } => None,
    }
}

/// Makes the bytes of one product from a map.
type Generate = fn(&MultiOrderMap, u8) -> Result<Vec<u8>>;

/// A product and its bytes.
type ProductBytes = (ProductKind, Result<Bytes>);

/// The products made from the map.
const GENERATORS: [(ProductKind, Generate); 4] = [
    (ProductKind::FlatMap, |map, max_order| flat::write(map, max_order, Vec::new())),
    (ProductKind::Contours, |map, _| contour::geojson(map, &[50, 90])),
    (ProductKind::CredibleRegion50, |map, _| map.credible().moc_json(0.5)),
    (ProductKind::CredibleRegion90, |map, _| map.credible().moc_json(0.9)),
];

/// Decodes the map once and makes every product; one that fails or panics does not stop the others. Makes no flat map
/// without an order.
fn generate(bytes: &Bytes, max_order: Option<u8>) -> Result<Vec<ProductBytes>> {
    let map = decode_once(bytes)?;
    let wanted = GENERATORS.into_iter().filter(|(kind, _)| *kind != ProductKind::FlatMap || max_order.is_some());
    let generated = wanted.map(|(kind, generate)| {
        let bytes = catch_unwind(AssertUnwindSafe(|| generate(&map, max_order.unwrap_or_default())));
        let bytes = bytes.unwrap_or_else(|_| Err(Error::permanent("panicked: a bug in this program")));
        (kind, bytes.map(Bytes::from))
    });
    Ok(generated.collect())
}

/// Writes the products. Their bytes are deterministic, so an equal object is not written again.
async fn store_products(deps: &Deps, alert: &Alert, generated: Vec<ProductBytes>) -> Result<Vec<Product>> {
    let mut products = Vec::new();
    for (kind, bytes) in generated {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(alert_name = %alert.name, product = ?kind, "failed to make a product: {error}");
                let status = ProductStatus::Failed { reason: error.to_string() };
                products.push(Product { product: kind, status });
                continue;
            }
        };
        let key = kind.object(&alert.name).key()?;
        let size = bytes.len() as u64;
        let status = if deps.store.put_if_changed(&key, bytes).await? {
            ProductStatus::Written { key, size, source: None }
        } else {
            ProductStatus::AlreadyThere { key }
        };
        products.push(Product { product: kind, status });
    }
    Ok(products)
}

fn missing(product: ProductKind, reason: &str) -> Product {
    Product { product, status: ProductStatus::Missing { reason: reason.to_owned() } }
}
