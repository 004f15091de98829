//! What an observatory on the ground can see of a map.
//!
//! A direction is observable while it is above the site's altitude and the Sun is below its own. The site's zenith turns
//! with the sidereal time about the Earth's pole of date, so each cell is above an altitude during one interval of each
//! sidereal day, around its transit, which its hour angle gives in closed form: the cost is that of a few functions for
//! each cell, however long the night.
//!
//! Altitudes are geometric: no refraction, no dip of the horizon. Errors: below 0.01° in altitude (annual aberration, and
//! UTC for UT1, are left out) and a few seconds in time where directions rise or set steeply.

use std::f64::consts::TAU;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::site::Site;

use super::earth::{
    Vector, WGS84_A_KM, WGS84_F, centuries, dot, icrs_of_teme, mean_sidereal_time, norm, teme_of_ground, unit,
};
use super::sun_moon;
use crate::skymap::{Cell, MultiOrderMap};

/// The Earth's rotation relative to the stars [rad/s]: 1.002737909350795 turns a day of UT1 (IAU 2006, doi:10.1051/0004-6361:20065897).
const SIDEREAL_RATE: f64 = TAU * 1.002_737_909_350_795 / 86_400.0;
/// A sidereal day [s].
const SIDEREAL_DAY_S: f64 = TAU / SIDEREAL_RATE;
/// Steps in which the Sun is looked at [s]; where it turns around between two, the turn is searched.
const SUN_STEP_S: f64 = 600.0;
/// Bisections of an interval of [`SUN_STEP_S`], to a millisecond.
const HALVINGS: usize = 20;
/// The credible level of the region that first and last times are given for.
const REGION_LEVEL: f64 = 0.9;
/// Starts of the best hour [s].
const MINUTE_S: f64 = 60.0;
/// Length of the best hour [min].
const HOUR_MINUTES: usize = 60;
/// An hour is better than an earlier one by at least this probability.
const BETTER_BY: f64 = 1e-6;

/// What can be seen of a map from a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observability {
    /// Probability of the cells whose centre is observable at some time (0–1).
    pub observable_prob: f64,
    /// Time while the Sun is below its limit \[h\].
    pub dark_hours: f64,
    /// When a cell of the 90 % credible region can first be observed; absent when none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// When one can last be observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The hour in which most of the probability can be observed; absent when nothing can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_hour: Option<BestHour>,
    /// The Moon at the start of the best hour, or of the whole time without one.
    pub moon: Moon,
}

/// The hour in which most of the probability can be observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestHour {
    /// Its start.
    pub start: Timestamp,
    /// Mean over the hour of the probability that is observable at once (0–1).
    pub prob: f64,
}

/// The Moon as seen from a site.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moon {
    /// Angle between the Moon's centre and the map's peak \[deg\].
    pub peak_separation_deg: f64,
    /// Illuminated fraction of its disc (0–1).
    pub illuminated: f64,
}

/// What can be seen of a map from sites, each within its hours from a time.
pub fn observe(map: &MultiOrderMap, sites: &[Site], from: Timestamp) -> Vec<Observability> {
    let mut watches: Vec<Watch<'_>> = sites.iter().map(|site| Watch::new(site, from)).collect();
    let credible = map.credible();
    for (i, cell) in map.cells().iter().enumerate() {
        let prob = cell.prob();
        if prob > 0.0 {
            let direction = direction(cell);
            let in_region = credible.level_before(i) < REGION_LEVEL;
            watches.iter_mut().for_each(|watch| watch.add(direction, prob, in_region));
        }
    }
    let peak = direction(&map.cells()[map.peak()]);
    watches.iter().map(|watch| watch.observability(peak)).collect()
}

/// The altitude of a direction, ICRS \[deg\], from a site at a time \[deg\].
pub fn altitude_deg(site: &Site, ra_deg: f64, dec_deg: f64, time: Timestamp) -> f64 {
    let direction = unit(ra_deg.to_radians(), dec_deg.to_radians());
    Turn::new(site, time, 0.0).sin_altitude(direction, 0.0).clamp(-1.0, 1.0).asin().to_degrees()
}

/// The altitude of the Sun's centre from a site at a time \[deg\].
pub fn sun_altitude_deg(site: &Site, time: Timestamp) -> f64 {
    sin_sun(site, time).clamp(-1.0, 1.0).asin().to_degrees()
}

/// When the Sun is below its limit at a site, within its hours from a time.
pub fn dark(site: &Site, from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    dark_s(site, from).into_iter().map(|(start, end)| (after(from, start), after(from, end))).collect()
}

fn direction(cell: &Cell) -> Vector {
    let (lon, lat) = cell.centre();
    unit(lon, lat)
}

/// A time some seconds after another, to the millisecond.
fn after(from: Timestamp, seconds: f64) -> Timestamp {
    from.saturating_add(SignedDuration::from_millis((seconds * 1e3).round() as i64)).unwrap_or(from)
}

/// Geodetic latitude and east longitude [rad].
fn place(site: &Site) -> (f64, f64) {
    (site.lat_deg.to_radians(), site.lon_deg.to_radians())
}

/// Sine of the Sun's altitude. Its parallax, 0.002°, is left out.
fn sin_sun(site: &Site, time: Timestamp) -> f64 {
    let (lat, lon) = place(site);
    let sun = sun_moon::sun(time);
    dot(sun, unit(mean_sidereal_time(time) + lon, lat)) / norm(sun)
}

/// The site's zenith as it turns: about the pole of date, in ICRS.
struct Turn {
    /// Unit vectors of the equator of date, and of its pole.
    axes: [Vector; 3],
    /// Local sidereal time at the start [rad].
    from_angle: f64,
    sin_lat: f64,
    cos_lat: f64,
}

impl Turn {
    /// Precession and nutation are those of the middle of the time; they change by 0.1″ a day.
    fn new(site: &Site, from: Timestamp, seconds: f64) -> Self {
        let (lat, lon) = place(site);
        let t = centuries(after(from, 0.5 * seconds));
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|axis| icrs_of_teme(axis, t));
        let (sin_lat, cos_lat) = lat.sin_cos();
        Turn { axes, from_angle: mean_sidereal_time(from) + lon, sin_lat, cos_lat }
    }

    /// Sine of a direction's altitude some seconds after the start.
    fn sin_altitude(&self, direction: Vector, seconds: f64) -> f64 {
        let [x, y, z] = self.axes.map(|axis| dot(axis, direction));
        let (sin, cos) = (self.from_angle + SIDEREAL_RATE * seconds).sin_cos();
        self.sin_lat * z + self.cos_lat * (x * cos + y * sin)
    }

    /// When a direction is above an altitude.
    fn above(&self, direction: Vector, sin_altitude: f64) -> Above {
        let [x, y, z] = self.axes.map(|axis| dot(axis, direction));
        // sin(altitude) = sin(lat) z + cos(lat) cos(dec) cos(hour angle).
        let swing = self.cos_lat * x.hypot(y);
        let rest = sin_altitude - self.sin_lat * z;
        if rest >= swing {
            return Above::Never;
        }
        if rest < -swing {
            return Above::Always;
        }
        let transit = (y.atan2(x) - self.from_angle).rem_euclid(TAU) / SIDEREAL_RATE;
        Above::Around { transit, half: (rest / swing).acos() / SIDEREAL_RATE }
    }
}

/// When a direction is above an altitude [s after the start].
enum Above {
    Never,
    Always,
    /// Within `half` of a transit, which comes again each sidereal day.
    Around {
        transit: f64,
        half: f64,
    },
}

/// Intervals with the Sun below the site's limit [s after the start].
fn dark_s(site: &Site, from: Timestamp) -> Vec<(f64, f64)> {
    let end = site.hours * 3600.0;
    let limit = site.sun_below_deg.to_radians().sin();
    let excess = |seconds: f64| sin_sun(site, after(from, seconds)) - limit;
    // A step more at both ends, so that a turn near one is seen.
    let steps = (end / SUN_STEP_S).ceil() as i64;
    let mut seen: Vec<(f64, f64)> = (-1..=steps + 1).map(|i| i as f64 * SUN_STEP_S).map(|s| (s, excess(s))).collect();
    let turns: Vec<(f64, f64)> = seen
        .windows(3)
        .filter_map(|around| {
            let [(before, a), (_, b), (behind, c)] = [around[0], around[1], around[2]];
            // The Sun turns around near the limit, and all three are on one side of it.
            let one_side = a * b > 0.0 && b * c > 0.0;
            (one_side && b.abs() <= a.abs() && b.abs() <= c.abs()).then(|| turn(excess, before, behind, b > 0.0))
        })
        .collect();
    seen.extend(turns);
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut found: Vec<(f64, f64)> = Vec::new();
    for pair in seen.windows(2) {
        let [(start, a), (stop, b)] = [pair[0], pair[1]];
        let (start, stop) = match (a < 0.0, b < 0.0) {
            (false, false) => continue,
            (true, true) => (start, stop),
            (is_dark, _) => {
                let crossing = crossing(excess, start, stop, is_dark);
                if is_dark { (start, crossing) } else { (crossing, stop) }
            }
        };
        let (start, stop) = (start.max(0.0), stop.min(end));
        if start < stop {
            match found.last_mut() {
                Some(last) if last.1 == start => last.1 = stop,
                _ => found.push((start, stop)),
            }
        }
    }
    found
}

/// Where a function crosses 0 between two places; `is_below`: whether it is below 0 at the first.
fn crossing(function: impl Fn(f64) -> f64, mut low: f64, mut high: f64, is_below: bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if (function(middle) < 0.0) == is_below { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The smallest value of a function with one turn between two places, or with `smallest` false the largest.
fn turn(function: impl Fn(f64) -> f64, mut low: f64, mut high: f64, smallest: bool) -> (f64, f64) {
    for _ in 0..2 * HALVINGS {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if (function(left) < function(right)) == smallest { high = right } else { low = left }
    }
    let at = 0.5 * (low + high);
    (at, function(at))
}

/// A site's time, and what was observable in it so far.
struct Watch<'a> {
    site: &'a Site,
    from: Timestamp,
    turn: Turn,
    sin_altitude: f64,
    /// Intervals with the Sun below its limit [s].
    dark: Vec<(f64, f64)>,
    prob: f64,
    first: f64,
    last: f64,
    /// For each minute, Σ p and Σ p t over the times t [s] in it at which a cell of probability p begins to be observable,
    /// minus those at which it ends.
    changes: Vec<(f64, f64)>,
}

impl<'a> Watch<'a> {
    fn new(site: &'a Site, from: Timestamp) -> Self {
        let seconds = site.hours * 3600.0;
        Watch {
            site,
            from,
            turn: Turn::new(site, from, seconds),
            sin_altitude: site.altitude_above_deg.to_radians().sin(),
            dark: dark_s(site, from),
            prob: 0.0,
            first: f64::INFINITY,
            last: f64::NEG_INFINITY,
            changes: vec![(0.0, 0.0); (seconds / MINUTE_S).ceil() as usize + 1],
        }
    }

    /// Adds a cell.
    fn add(&mut self, direction: Vector, prob: f64, in_region: bool) {
        if self.dark.is_empty() {
            return;
        }
        let above = self.turn.above(direction, self.sin_altitude);
        let mut is_observable = false;
        for i in 0..self.dark.len() {
            let (dusk, dawn) = self.dark[i];
            match above {
                Above::Never => return,
                Above::Always => is_observable |= self.span(dusk, dawn, prob, in_region),
                Above::Around { transit, half } => {
                    // The first transit after which the direction sets after dusk.
                    let mut at = transit + ((dusk - half - transit) / SIDEREAL_DAY_S).ceil() * SIDEREAL_DAY_S;
                    while at - half < dawn {
                        is_observable |= self.span(dusk.max(at - half), dawn.min(at + half), prob, in_region);
                        at += SIDEREAL_DAY_S;
                    }
                }
            }
        }
        if is_observable {
            self.prob += prob;
        }
    }

    /// Adds an interval in which a cell is observable; whether it is one.
    fn span(&mut self, start: f64, end: f64, prob: f64, in_region: bool) -> bool {
        if start >= end {
            return false;
        }
        if in_region {
            self.first = self.first.min(start);
            self.last = self.last.max(end);
        }
        for (at, sign) in [(start, prob), (end, -prob)] {
            let change = &mut self.changes[(at / MINUTE_S) as usize];
            change.0 += sign;
            change.1 += sign * at;
        }
        true
    }

    /// The hour of which the integral of the observable probability is largest; the earliest of equal ones.
    fn best_hour(&self) -> Option<BestHour> {
        // ∫ from the start to each full minute: Σ p (minute − t) over the changes before it.
        let (mut sums, mut integrals) = ((0.0, 0.0), vec![0.0]);
        for (i, change) in self.changes.iter().enumerate() {
            sums = (sums.0 + change.0, sums.1 + change.1);
            integrals.push((i + 1) as f64 * MINUTE_S * sums.0 - sums.1);
        }
        // The last entry is the minute after the end, in which only ends lie.
        integrals.pop();
        let minutes = HOUR_MINUTES.min(integrals.len() - 1);
        let length = (minutes as f64 * MINUTE_S).min(self.site.hours * 3600.0);
        let (mut best, mut most) = (None, 0.0);
        for start in 0..integrals.len() - minutes {
            let prob = (integrals[start + minutes] - integrals[start]) / length;
            if prob > most + BETTER_BY {
                (best, most) = (Some(start), prob);
            }
        }
        // Never above what is observable at all, in spite of rounding.
        best.map(|start| BestHour { start: after(self.from, start as f64 * MINUTE_S), prob: most.min(self.prob) })
    }

    fn observability(&self, peak: Vector) -> Observability {
        let at = |seconds: f64| seconds.is_finite().then(|| after(self.from, seconds));
        let best_hour = self.best_hour();
        let dark_s: f64 = self.dark.iter().map(|(start, end)| end - start).sum();
        Observability {
            // In spite of rounding, and of a map whose probabilities sum to a little more.
            observable_prob: self.prob.min(1.0),
            dark_hours: dark_s / 3600.0,
            first: at(self.first),
            last: at(self.last),
            best_hour,
            moon: self.moon(peak, best_hour.map_or(self.from, |best| best.start)),
        }
    }

    fn moon(&self, peak: Vector, time: Timestamp) -> Moon {
        let (moon, site) = (sun_moon::moon(time), position_km(self.site, time));
        let seen = icrs_of_teme([0, 1, 2].map(|i| moon[i] - site[i]), centuries(time));
        let cos = dot(seen, peak) / norm(seen);
        let separation = cos.clamp(-1.0, 1.0).acos().to_degrees();
        Moon { peak_separation_deg: separation, illuminated: sun_moon::illuminated_fraction(time) }
    }
}

/// A site's geocentric position, TEME [km].
fn position_km(site: &Site, time: Timestamp) -> Vector {
    let (lat, lon) = place(site);
    let (e2, height) = (WGS84_F * (2.0 - WGS84_F), site.height_m / 1e3);
    let normal = WGS84_A_KM / (1.0 - e2 * lat.sin().powi(2)).sqrt();
    let equator = (normal + height) * lat.cos();
    teme_of_ground([equator * lon.cos(), equator * lon.sin(), (normal * (1.0 - e2) + height) * lat.sin()], time)
}

#[cfg(test)]
mod tests;
