//! `Alert → Products`: flat map, contours, credible regions, and what Fermi and Swift saw; each is written or says why
//! not.

pub mod fermi;
mod last;
pub mod swift_bat;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use config::Config;
use science::skymap::{MultiOrderMap, contour, flat};
use shared::key::AlertName;
use shared::message::{Alert, Product, ProductKind, ProductStatus, Products, Role};
use shared::{Error, Result};
use store::Store;

use fermi::Sources;

/// What this function touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the map is and the products go.
    pub store: Store,
    /// Finest HEALPix order of the flat map; none makes none.
    pub flat_max_order: Option<u8>,
    /// Where Fermi's orbit and pointing come from.
    pub fermi: Sources,
    /// Swift's pointings: a file, or an object of the store.
    pub swift_pointing_file: Option<String>,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// Permanent, when a source's address cannot be used.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps {
            store,
            flat_max_order: config.flat_max_order,
            fermi: Sources::new(&config.fermi)?,
            swift_pointing_file: config.swift_pointing_file.clone(),
        })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`] and [`Deps::new`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Makes every product that the alert allows. What the map does not allow is missing with a reason, and stops nothing.
///
/// # Errors
/// Permanent, when the alert's map is not in the store or cannot be read; what the store says otherwise. What does not
/// need the map is made all the same.
pub async fn handle(deps: &Deps, alert: Alert) -> Result<Products> {
    let from_map = async {
        // Fails for good, so that it is kept under `failed/` and a later program's retry makes what is missing.
        if let Some(error) = &alert.skymap_error {
            return Err(Error::permanent(format!("the sky map cannot be read, so nothing is made from it: {error}")));
        }
        let Some(key) = &alert.skymap else { return Box::pin(without_map(deps, &alert)).await };
        let max_order = deps.flat_max_order;
        let drawn = match deps.store.get(key).await? {
            // The GWTM removes the files of old mock alerts whenever it is asked to.
            None if alert.role == Role::Test => {
                return Ok((MADE.map(|(kind, _)| missing(kind, "the mock alert's map has been removed")).into(), None));
            }
            None => deps.store.read(key).await?,
            Some(map) => map,
        };
        let made = runtime::blocking("products", move || make(&drawn, max_order)).await;
        let mut products = keep(deps, &alert, made.map_err(|error| error.of(format!("sky map `{key}`")))?).await?;
        if max_order.is_none() {
            products.insert(0, missing(ProductKind::FlatMap, "flat maps are switched off (FLAT_MAX_ORDER=none)"));
        }
        Ok::<_, Error>((products, None))
    };
    let (superevent, time) = (&alert.name.superevent_id, alert.time_of_signal);
    let fermi = fermi::coverage(&deps.fermi, &deps.store, superevent, time);
    let swift = swift_bat::coverage(deps.swift_pointing_file.as_deref(), &deps.store, superevent, time);
    let (from_map, fermi, swift) = tokio::join!(from_map, fermi, swift);
    let (mut products, map_of): (Vec<Product>, Option<AlertName>) = from_map?;
    products.extend(fermi);
    products.push(swift);
    let missing: Vec<String> = products.iter().filter_map(missing_because).collect();
    tracing::info!(alert.name = %alert.name, products = products.len() - missing.len(), ?missing, "made the products");
    Ok(Products { name: alert.name, products, map_of })
}

/// What an alert without a map of its own gets: the superevent's last contours and flat map, and whose they are.
async fn without_map(deps: &Deps, alert: &Alert) -> Result<(Vec<Product>, Option<AlertName>)> {
    let none = "the notice carries no sky map";
    let Some((of, files)) = last::find(&deps.store, &alert.name.superevent_id).await? else {
        return Ok((MADE.map(|(kind, _)| missing(kind, none)).into(), None));
    };
    let mut kept = keep(deps, alert, files).await?;
    for product in &mut kept {
        if let ProductStatus::Written { source, .. } = &mut product.status {
            *source = Some(format!("of {of}"));
        }
    }
    let products = MADE.map(|(kind, _)| {
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

/// How one product is made from a map: its bytes.
type Make = fn(&MultiOrderMap, u8) -> Result<Vec<u8>>;

/// A product and its bytes.
type ProductBytes = (ProductKind, Result<Bytes>);

/// What is made from the map.
const MADE: [(ProductKind, Make); 4] = [
    (ProductKind::FlatMap, |map, max_order| flat::write(map, max_order, Vec::new())),
    (ProductKind::Contours, |map, _| contour::geojson(map, &[50, 90])),
    (ProductKind::CredibleRegion50, |map, _| map.credible().moc_json(0.5)),
    (ProductKind::CredibleRegion90, |map, _| map.credible().moc_json(0.9)),
];

/// Decodes the map, once, and makes every product; one that fails, or panics, does not stop the others. Without an
/// order there is no flat map.
fn make(bytes: &[u8], max_order: Option<u8>) -> Result<Vec<ProductBytes>> {
    let map = MultiOrderMap::decode(bytes)?;
    let wanted = MADE.into_iter().filter(|(kind, _)| *kind != ProductKind::FlatMap || max_order.is_some());
    let made = wanted.map(|(kind, make)| {
        let bytes = catch_unwind(AssertUnwindSafe(|| make(&map, max_order.unwrap_or_default())));
        let bytes = bytes.unwrap_or_else(|_| Err(Error::permanent("it could not be made: a fault in this program")));
        (kind, bytes.map(Bytes::from))
    });
    Ok(made.collect())
}

/// Writes what was made. The bytes follow from the map, so an object of the same size and content is left as it is.
async fn keep(deps: &Deps, alert: &Alert, made: Vec<ProductBytes>) -> Result<Vec<Product>> {
    let mut products = Vec::new();
    for (kind, bytes) in made {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(alert.name = %alert.name, product = ?kind, "a product failed: {error}");
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
