//! The galaxy catalogue and the ranking of host galaxies (Arcavi et al. 2017, doi:10.3847/2041-8213/aa910f).

/// How galaxies are chosen and ranked; the names are those of `[GALAXIES]` in `gal_catalog_config.ini`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// CREDZONE: credible level of the zone [0–1].
    pub credzone: f64,
    /// RELAXED_CREDZONE: the same when nobody is in the zone [0–1].
    pub relaxed_credzone: f64,
    /// NSIGMAS_IN_D: half-width of the zone in distance [σ].
    pub nsigmas_in_d: f64,
    /// RELAXED_NSIGMAS_IN_D: the same when nobody is in the zone [σ].
    pub relaxed_nsigmas_in_d: f64,
    /// SENSITIVITY: limiting apparent magnitude [mag].
    pub sensitivity: f64,
    /// MINL: luminosity of the faintest counterpart [erg/s].
    pub minl: f64,
    /// MAXL: luminosity of the brightest counterpart [erg/s].
    pub maxl: f64,
    /// MINDISTFACTOR: least detectability.
    pub mindistfactor: f64,
    /// NGALAXIES: most galaxies in a list.
    pub ngalaxies: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            credzone: 0.5,
            relaxed_credzone: 0.99995,
            nsigmas_in_d: 3.0,
            relaxed_nsigmas_in_d: 5.0,
            sensitivity: 22.0,
            minl: 1e40,
            maxl: 1e42,
            mindistfactor: 0.01,
            ngalaxies: 1000,
        }
    }
}
