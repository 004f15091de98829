//! What `skymap-products` says of each product: whether it is there, and how sure it is what a spacecraft saw.

use serde::{Deserialize, Serialize};

use super::FlowMessage;
use crate::key::{AlertName, Key, Object};

/// What `skymap-products` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ProductKind {
    FlatMap,
    Contours,
    #[serde(rename = "credible_region_50")]
    CredibleRegion50,
    #[serde(rename = "credible_region_90")]
    CredibleRegion90,
    FermiGbm,
    FermiLat,
    SwiftBat,
}

impl ProductKind {
    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            ProductKind::FlatMap => "flat map",
            ProductKind::Contours => "contours",
            ProductKind::CredibleRegion50 => "50 % region",
            ProductKind::CredibleRegion90 => "90 % region",
            ProductKind::FermiGbm => "Fermi GBM",
            ProductKind::FermiLat => "Fermi LAT",
            ProductKind::SwiftBat => "Swift BAT",
        }
    }

    /// The object that it is, of an alert.
    pub fn object(self, name: &AlertName) -> Object<'_> {
        match self {
            ProductKind::FlatMap => Object::FlatMap(name),
            ProductKind::Contours => Object::Contours(name),
            ProductKind::CredibleRegion50 => Object::CredibleRegion(name, 50),
            ProductKind::CredibleRegion90 => Object::CredibleRegion(name, 90),
            ProductKind::FermiGbm => Object::FermiGbm(&name.superevent_id),
            ProductKind::FermiLat => Object::FermiLat(&name.superevent_id),
            ProductKind::SwiftBat => Object::SwiftBat(&name.superevent_id),
        }
    }
}

/// What became of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ProductStatus {
    /// Written now.
    Written {
        /// The object.
        key: Key,
        /// Its size \[bytes\].
        size: u64,
        /// Where it came from, when that is worth knowing (a TLE's epoch, an FT2 file's name).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// An earlier alert or an earlier run had written it.
    AlreadyThere {
        /// The object.
        key: Key,
    },
    /// Not made, since the alert or the world does not allow it.
    Missing {
        /// Why, for a person.
        reason: String,
    },
    /// Not made, since something is broken.
    Failed {
        /// What, for a person.
        reason: String,
    },
}

/// One product and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Which product.
    pub product: ProductKind,
    /// What became of it.
    #[serde(flatten)]
    pub status: ProductStatus,
}

/// How sure it is where a spacecraft was, or where it pointed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// From an orbit that was predicted (a TLE).
    Predicted,
    /// From a plan.
    Planned,
    /// From the timeline as flown.
    AsFlown,
    /// From what was measured.
    Final,
}

impl Certainty {
    /// Whether nothing better is to come.
    pub fn is_final(self) -> bool {
        matches!(self, Certainty::AsFlown | Certainty::Final)
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Certainty::Predicted => "predicted",
            Certainty::Planned => "planned",
            Certainty::AsFlown => "as flown",
            Certainty::Final => "final",
        }
    }
}

/// How sure a product is that shows what a spacecraft saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageCertainty {
    /// Which product.
    pub product: ProductKind,
    /// How sure it is.
    pub certainty: Certainty,
    /// The orbit or pointing, for a person.
    pub source: String,
    /// How sure the product was that this one has replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Certainty>,
}

/// A product that was not made, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingProduct {
    /// Which product.
    pub product: ProductKind,
    /// Why, for a person.
    pub reason: String,
}

/// What `skymap-products` did: every [`ProductKind`] once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Products {
    /// The alert.
    pub name: AlertName,
    /// Each product is written or says why not.
    pub products: Vec<Product>,
    /// The alert whose contours and flat map these are, when the alert has no map of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_of: Option<AlertName>,
    /// How sure the products are that show what a spacecraft saw, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<CoverageCertainty>,
}

impl Products {
    /// The products that were not made.
    pub fn missing(&self) -> Vec<MissingProduct> {
        let missing = |Product { product, status }: &Product| match status {
            ProductStatus::Missing { reason } | ProductStatus::Failed { reason } => {
                Some(MissingProduct { product: *product, reason: reason.clone() })
            }
            ProductStatus::Written { .. } | ProductStatus::AlreadyThere { .. } => None,
        };
        self.products.iter().filter_map(missing).collect()
    }
}

impl FlowMessage for Products {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let count = |of: fn(&ProductStatus) -> bool| self.products.iter().filter(|product| of(&product.status)).count();
        vec![
            ("products_written", count(|status| matches!(status, ProductStatus::Written { .. }))),
            ("products_already_there", count(|status| matches!(status, ProductStatus::AlreadyThere { .. }))),
            ("products_missing", count(|status| matches!(status, ProductStatus::Missing { .. }))),
            ("products_failed", count(|status| matches!(status, ProductStatus::Failed { .. }))),
        ]
    }
}
