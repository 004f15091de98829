//! `gwtm simulate`: generates synthetic notices and a synthetic galaxy catalogue, to try the whole pipeline.
//!
//! The output depends on the arguments alone: no clock, no environment, one seed.

pub mod catalog;
pub mod icecube;
pub mod notice;
pub mod sky;

use std::io::Write;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shared::key::SupereventId;
use shared::{Context, Result};

use crate::Failure;
use sky::{Shape, Sky};

/// Writes an invented notice: an alert with its sky map, an IceCube track search, or a galaxy catalogue.
///
/// The same arguments give the same bytes. Nothing inside a notice says that it is invented but its superevent id:
/// use MS or TS ids where that matters.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm simulate --out alert.json
  gwtm simulate --area 1000 --ra 0 --dec -30 --out wide.json
  gwtm simulate --superevent-id TS260101a --type retraction | gwtm run -")]
pub struct Simulate {
    /// Output file (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Seed of the random values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Superevent id; an M or T before the S marks a test event
    #[arg(long, value_name = "ID", default_value = "MS090101a")]
    pub superevent_id: String,
    /// Alert type
    #[arg(long = "type", value_enum, default_value_t = SimulatedKind::Preliminary)]
    pub kind: SimulatedKind,
    /// Time of the event, UTC
    #[arg(long, default_value = "2009-01-01T00:00:00Z")]
    pub time: Timestamp,
    /// Time of creation of the notice, UTC (default: some minutes or days after the event, by type)
    #[arg(long, value_name = "TIME")]
    pub time_created: Option<Timestamp>,
    /// Right ascension of the region's centre (deg)
    #[arg(long, default_value_t = 150.0, allow_negative_numbers = true)]
    pub ra: f64,
    /// Declination of the region's centre (deg)
    #[arg(long, default_value_t = 20.0, allow_negative_numbers = true)]
    pub dec: f64,
    /// Area of the 90 % credible region (deg²)
    #[arg(long, default_value_t = 50.0)]
    pub area: f64,
    /// Shape of the region
    #[arg(long, value_enum, default_value_t = Shape::Spot)]
    pub shape: Shape,
    /// Position angle of the region's long axis, north through east (deg) (default: from the seed)
    #[arg(long, allow_negative_numbers = true)]
    pub angle: Option<f64>,
    /// Mean distance (Mpc)
    #[arg(long, default_value_t = 120.0)]
    pub distance: f64,
    /// Standard deviation of the distance (Mpc) (default: a quarter of the distance)
    #[arg(long)]
    pub distance_error: Option<f64>,
    /// False-alarm rate (Hz)
    #[arg(long, default_value_t = 1e-10)]
    pub far: f64,
    /// Simulate a burst: a duration and a central frequency, no distances and no classes
    #[arg(long, conflicts_with = "ssm")]
    pub burst: bool,
    /// Simulate a sub-solar-mass candidate: HasSSM, no classes
    #[arg(long)]
    pub ssm: bool,
    /// Detectors, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "H1,L1,V1")]
    pub detectors: Vec<String>,
    /// Add a coincident gamma-ray burst
    #[arg(long, value_enum, value_name = "WITH")]
    pub external_coincidence: Option<Coincidence>,
    /// Write the coincidence's notice id as a string
    #[arg(long)]
    pub text_notice_id: bool,
    /// Write a null sky map
    #[arg(long)]
    pub no_map: bool,
    /// Order of the map's initial whole-sky grid: 3 gives 4,800 rows, 2 gives 1,200
    #[arg(long, default_value_t = 3)]
    pub start_order: u8,
    /// Finest order of the map
    #[arg(long, default_value_t = sky::MAX_ORDER)]
    pub max_order: u8,
    /// Gzip the map inside the notice
    #[arg(long)]
    pub gzip: bool,
    /// Write unsorted rows and a short header, like maps from posterior samples
    #[arg(long)]
    pub shuffle: bool,
    /// Write the older notice format: EARLY_WARNING, no `significant`
    #[arg(long)]
    pub older: bool,
    /// Write an IceCube track search around the superevent instead
    #[arg(long, value_enum, value_name = "FORM")]
    pub icecube: Option<TrackForm>,
    /// Number of coincident neutrino tracks
    #[arg(long, default_value_t = 2)]
    pub events: usize,
    /// Leave out the track search's p-values
    #[arg(long, value_enum, value_name = "HOW")]
    pub null_p_values: Option<NullAs>,
    /// Write a galaxy catalogue of this size instead, with 30 % of the galaxies near the event
    #[arg(long, value_name = "COUNT", conflicts_with = "icecube")]
    pub catalog: Option<usize>,
}

/// Type of alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum SimulatedKind {
    #[value(name = "earlywarning", alias = "EARLYWARNING")]
    EarlyWarning,
    #[value(alias = "PRELIMINARY")]
    Preliminary,
    #[value(alias = "INITIAL")]
    Initial,
    #[value(alias = "UPDATE")]
    Update,
    #[value(alias = "RETRACTION")]
    Retraction,
}

impl SimulatedKind {
    fn as_str(self) -> &'static str {
        match self {
            SimulatedKind::EarlyWarning => "EarlyWarning",
            SimulatedKind::Preliminary => "Preliminary",
            SimulatedKind::Initial => "Initial",
            SimulatedKind::Update => "Update",
            SimulatedKind::Retraction => "Retraction",
        }
    }
}

/// Combined map of a coincidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Coincidence {
    /// A combined map, two fifths of the area of the event's own.
    WithMap,
    /// The combined map is null.
    NullMap,
}

/// Format of a track search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TrackForm {
    /// Today's: positions under `localization`, the reference a name.
    Nested,
    /// Older: positions flat, the reference an integer.
    Flat,
}

/// How a missing p-value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NullAs {
    /// null
    Null,
    /// The string "null".
    Text,
}

impl Simulate {
    /// The output's bytes.
    ///
    /// # Errors
    /// Permanent, for an argument outside its range.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.superevent_id.parse::<SupereventId>().map_err(|error| error.of("`--superevent-id`"))?;
        match (self.catalog, self.icecube) {
            (Some(count), _) => catalog::csv(self, count),
            (None, Some(form)) => icecube::track_search(self, form),
            (None, None) => notice::alert(self),
        }
    }

    /// Writes the output to `--out` or to standard output.
    ///
    /// # Errors
    /// Usage, as [`Simulate::bytes`]; work, when writing fails.
    pub fn run(&self) -> std::result::Result<(), Failure> {
        let bytes = self.bytes().map_err(Failure::usage)?;
        let written = match &self.out {
            Some(path) => std::fs::write(path, &bytes).permanent(format_args!("file `{}`", path.display())),
            None => std::io::stdout().write_all(&bytes).permanent("standard output"),
        };
        written.map_err(Failure::work)
    }

    fn time_created(&self) -> Timestamp {
        let after = match self.kind {
            _ if self.icecube.is_some() => SignedDuration::from_secs(2100),
            SimulatedKind::EarlyWarning => SignedDuration::from_secs(-20),
            SimulatedKind::Preliminary => SignedDuration::from_mins(5),
            SimulatedKind::Initial => SignedDuration::from_mins(40),
            SimulatedKind::Update => SignedDuration::from_hours(30),
            SimulatedKind::Retraction => SignedDuration::from_hours(1),
        };
        self.time_created.unwrap_or(self.time + after)
    }

    fn sky(&self, dice: &mut Dice) -> Sky {
        let drawn = (180.0 * dice.uniform()).round();
        Sky {
            ra: self.ra,
            dec: self.dec,
            area: self.area,
            shape: self.shape,
            angle: self.angle.unwrap_or(drawn),
            distance: (!self.burst).then_some((self.distance, self.distance_error.unwrap_or(0.25 * self.distance))),
            start_order: self.start_order,
            max_order: self.max_order,
        }
    }
}

/// Portable random numbers (ChaCha, 12 rounds).
pub struct Dice(ChaCha12Rng);

impl Dice {
    /// A generator with a seed.
    pub fn new(seed: u64) -> Self {
        Dice(ChaCha12Rng::seed_from_u64(seed))
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.uniform(), self.uniform());
        libm::sqrt(-2.0 * libm::log(a)) * libm::cos(std::f64::consts::TAU * b)
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.uniform() * (i + 1) as f64) as usize);
        }
    }
}
