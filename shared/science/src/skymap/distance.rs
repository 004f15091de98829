//! Distances along lines of sight, after Singer et al. 2016 (doi:10.3847/2041-8205/829/1/L15; the supplement,
//! doi:10.3847/0067-0049/226/1/10, has the formulas).

use std::f64::consts::{PI, SQRT_2};
use std::sync::LazyLock;

use super::{Cell, Distance, MultiOrderMap};

/// Ratio of mu to sigma below which only backward recurrence keeps its precision.
const BACKWARD_BELOW: f64 = -2.0;
/// First index of the backward recurrence, whose error shrinks with every step.
const BACKWARD_FROM: u32 = 300;
/// Limit on the total probability of the cells that integrals over the sky leave out.
const NEGLIGIBLE_PROB: f64 = 1e-10;
/// Tolerance on a probability before the last Newton step, which squares the error.
const PROB_TOLERANCE: f64 = 1e-6;
/// Standard deviations beyond which a normal distribution vanishes in f64.
const MAX_SIGMAS: f64 = 9.0;
/// Tolerance on an interpolated probability, and on a volume as a fraction of it.
const INTERPOLATION_TOLERANCE: f64 = 1e-4;
/// Limit on bisection steps; about 100 halvings exhaust an interval of f64 numbers.
const MAX_BISECTIONS: usize = 100;

/// Φ, the distribution function of the normal distribution.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// φ, its density.
fn normal_pdf(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Intervals of [`normal_near`]'s table in a standard deviation; the error of the cubics, h⁴ / 384, is below 1e-12.
const STEPS_PER_SIGMA: usize = 256;

/// The probability within `x` ≥ 0 standard deviations of the mean of the normal distribution, erf(x / √2), and φ(x), both
/// within 1e-12: cubics between tabulated values and slopes, several times faster than erf and exp.
fn normal_near(x: f64) -> (f64, f64) {
    /// Both at each interval's start.
    static TABLE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
        let start = |i: usize| i as f64 / STEPS_PER_SIGMA as f64;
        let steps = MAX_SIGMAS as usize * STEPS_PER_SIGMA + 1;
        (0..steps).map(start).map(|x| (libm::erf(x / SQRT_2), normal_pdf(x))).collect()
    });
    let step = x * STEPS_PER_SIGMA as f64;
    let i = step as usize;
    let (Some((a, a_density)), Some((b, b_density))) = (TABLE.get(i), TABLE.get(i + 1)) else { return (1.0, 0.0) };
    let (t, h) = (step - i as f64, 1.0 / STEPS_PER_SIGMA as f64);
    let (from, to) = (i as f64 * h, (i + 1) as f64 * h);
    // The slope of erf(x / √2) is 2 φ(x), and that of φ(x) is −x φ(x).
    let prob = cubic(t, (*a, 2.0 * a_density * h), (*b, 2.0 * b_density * h));
    (prob, cubic(t, (*a_density, -from * a_density * h), (*b_density, -to * b_density * h)))
}

/// The cubic between two values with their slopes by `t`, at `t` from 0 to 1.
fn cubic(t: f64, (a, a_slope): (f64, f64), (b, b_slope): (f64, f64)) -> f64 {
    let (rest, chord) = (1.0 - t, b - a);
    a + t * chord + t * rest * (rest * (a_slope - chord) - t * (b_slope - chord))
}

/// Solves `rising(x) = target` between `low` and `high`, where `rising` returns value and slope: Newton steps from
/// `first`, and bisection where they leave the interval or do not converge.
fn solve(rising: impl Fn(f64) -> (f64, f64), target: f64, mut low: f64, mut high: f64, first: f64) -> f64 {
    let mut at = if first > low && first < high { first } else { 0.5 * (low + high) };
    let mut last = f64::INFINITY;
    for _ in 0..MAX_BISECTIONS {
        let (value, slope) = rising(at);
        let off = value - target;
        if off.abs() < PROB_TOLERANCE {
            break;
        }
        if off < 0.0 {
            low = at
        } else {
            high = at
        }
        let newton = at - off / slope;
        let nearer = newton > low && newton < high && off.abs() < 0.5 * last;
        let next = if nearer { newton } else { 0.5 * (low + high) };
        if next == low || next == high {
            break;
        }
        (at, last) = (next, off.abs());
    }
    at
}

/// R_k = I_k / I_{k−1} for k = 1 to 4, where I_k = ∫₀^∞ rᵏ N(r; x, 1) dr; from I_k = x I_{k−1} + (k − 1) I_{k−2}.
fn ratios(x: f64) -> [f64; 4] {
    if x > BACKWARD_BELOW {
        let mut last = x + normal_pdf(x) / normal_cdf(x);
        return [1.0, 2.0, 3.0, 4.0].map(|k| {
            if k > 1.0 {
                last = x + (k - 1.0) / last;
            }
            last
        });
    }
    let from = f64::from(BACKWARD_FROM);
    let mut ratio = 0.5 * (x + (x * x + 4.0 * from).sqrt());
    let mut ratios = [0.0; 4];
    for k in (1..BACKWARD_FROM).rev() {
        ratio = f64::from(k) / (ratio - x);
        if let Some(slot) = ratios.get_mut(k as usize - 1) {
            *slot = ratio;
        }
    }
    ratios
}

impl Distance {
    /// An unknown distance, as upstream writes it.
    pub const UNKNOWN: Distance = Distance { mu: f64::INFINITY, sigma: 1.0, norm: 0.0 };

    /// Whether the three numbers describe a distribution.
    pub fn is_known(&self) -> bool {
        self.mu.is_finite() && self.sigma.is_finite() && self.sigma > 0.0 && self.norm.is_finite() && self.norm > 0.0
    }

    /// Mean and standard deviation of the distance along the line of sight \[Mpc\]; `None` when unknown.
    pub fn moments(&self) -> Option<(f64, f64)> {
        if !self.is_known() {
            return None;
        }
        // p ∝ r² N, so the mean is I₃/I₂ and the mean square I₄/I₂.
        let [_, _, third, fourth] = ratios(self.mu / self.sigma);
        let (mean, variance) = (self.sigma * third, self.sigma * self.sigma * third * (fourth - third));
        (mean.is_finite() && variance > 0.0).then(|| (mean, variance.sqrt()))
    }

    /// The distribution with a mean and a standard deviation \[Mpc\]; [`Distance::UNKNOWN`] when none exists: the mean is
    /// always above √3 standard deviations, the ratio of r² with an exponential fall.
    pub fn of_moments(mean: f64, std: f64) -> Distance {
        let wanted = mean / std;
        if !(wanted.is_finite() && std > 0.0 && wanted > 3f64.sqrt()) {
            return Distance::UNKNOWN;
        }
        // mean / std rises with x = mu / sigma, from √3 at −∞ to x at ∞.
        let ratio = |x: f64| {
            let [_, _, third, fourth] = ratios(x);
            third / (third * (fourth - third)).sqrt()
        };
        let (mut low, mut high) = (-1.0, wanted + 1.0);
        while ratio(low) > wanted {
            low *= 2.0;
            if low < -1e4 {
                return Distance::UNKNOWN;
            }
        }
        for _ in 0..MAX_BISECTIONS {
            let middle = 0.5 * (low + high);
            if ratio(middle) < wanted { low = middle } else { high = middle }
        }
        let x = 0.5 * (low + high);
        let [first, second, third, _] = ratios(x);
        let sigma = mean / third;
        let norm = 1.0 / (sigma * sigma * second * first * normal_cdf(x));
        let distance = Distance { mu: x * sigma, sigma, norm };
        if distance.is_known() { distance } else { Distance::UNKNOWN }
    }

    /// The probability that the source is nearer than `r` \[Mpc\], given its direction (0–1).
    pub fn cdf(&self, r: f64) -> f64 {
        LineOfSight::of(self).nearer(r).0
    }
}

/// A line of sight: its distribution, and the values at the observer that every integral needs.
struct LineOfSight<'a> {
    distance: &'a Distance,
    /// Φ of −|mu / sigma|.
    tail: f64,
    /// φ of mu / sigma.
    density: f64,
}

impl LineOfSight<'_> {
    fn of(distance: &Distance) -> LineOfSight<'_> {
        let x = distance.mu / distance.sigma;
        LineOfSight { distance, tail: normal_cdf(-x.abs()), density: normal_pdf(x) }
    }

    /// The probability that the source is nearer than `r` [Mpc] (0–1), and its derivative [1/Mpc].
    fn nearer(&self, r: f64) -> (f64, f64) {
        if !self.distance.is_known() || r.is_nan() || r <= 0.0 {
            return (0.0, 0.0);
        }
        let Distance { mu, sigma, norm } = *self.distance;
        // ∫₀^r t² N(t; mu, sigma) dt, with the upper limit in units of sigma.
        let x = (r - mu) / sigma;
        let (between, density) = if mu < 0.0 {
            (self.tail - normal_cdf(-x), normal_pdf(x))
        } else if x > MAX_SIGMAS {
            (1.0 - self.tail, 0.0)
        } else {
            (normal_cdf(x) - self.tail, normal_pdf(x))
        };
        let integral = (mu * mu + sigma * sigma) * between + sigma * (mu * self.density - (mu + r) * density);
        ((norm * integral).clamp(0.0, 1.0), norm * r * r * density / sigma)
    }

    /// The probability that the source is within `x` > 0 standard deviations of mu (0–1), and its derivative.
    fn around(&self, x: f64) -> (f64, f64) {
        let Distance { mu, sigma, norm } = *self.distance;
        let (near, far) = (mu - x * sigma, mu + x * sigma);
        if mu < 0.0 {
            // The difference of two tails, which only erfc has with all digits.
            let (prob, slope) = self.nearer(far);
            return (prob, slope * sigma);
        }
        let (within, density) = normal_near(x);
        let squares = mu * mu + sigma * sigma;
        // By symmetry, both ends have the same density; beyond the observer there is nothing.
        let (integral, ends) = if near > 0.0 {
            (squares * within - 2.0 * sigma * sigma * x * density, near * near + far * far)
        } else {
            let between = 0.5 + 0.5 * within - self.tail;
            (squares * between + sigma * (mu * self.density - (mu + far) * density), far * far)
        };
        ((norm * integral).clamp(0.0, 1.0), norm * ends * density)
    }
}

impl MultiOrderMap {
    /// The quantiles (0–1) of the distance over the sky \[Mpc\]; `None` for a map without distances.
    pub fn distance_quantiles<const N: usize>(&self, quantiles: [f64; N]) -> Option<[f64; N]> {
        self.quantiles_near(self.distance_moments()?, quantiles)
    }

    /// [`MultiOrderMap::distance_quantiles`], searched from the mean and the standard deviation over the sky \[Mpc\].
    pub fn quantiles_near<const N: usize>(&self, (mean, std): (f64, f64), quantiles: [f64; N]) -> Option<[f64; N]> {
        let lines_of_sight = self.lines_of_sight()?;
        let total: f64 = lines_of_sight.iter().map(|(cell, _)| cell.prob()).sum();
        let nearer = |r: f64| {
            let sum = lines_of_sight.iter().fold((0.0, 0.0), |sum, (cell, line)| {
                let (prob, slope) = line.nearer(r);
                (sum.0 + cell.prob() * prob, sum.1 + cell.prob() * slope)
            });
            (sum.0 / total, sum.1 / total)
        };
        let far = |distance: &Distance| distance.mu.max(0.0) + 10.0 * distance.sigma;
        let high = lines_of_sight.iter().map(|(_, line)| far(line.distance)).fold(0.0, f64::max);
        if lines_of_sight.is_empty() || !quantiles.iter().all(|quantile| (0.0..1.0).contains(quantile)) {
            return None;
        }
        // First guess: a logistic distribution, which differs little from the normal one.
        let first = |quantile: f64| mean + std * (quantile / (1.0 - quantile)).ln() / 1.7;
        Some(quantiles.map(|quantile| solve(nearer, quantile, 0.0, high, first(quantile))))
    }

    /// The lines of sight that matter in integrals over the sky; `None` for a map without distances.
    fn lines_of_sight(&self) -> Option<Vec<(&Cell, LineOfSight<'_>)>> {
        let least = NEGLIGIBLE_PROB / self.cells().len() as f64;
        let known = (self.cells().iter().zip(self.distances()?))
            .filter(|(cell, distance)| cell.prob() > least && distance.is_known());
        Some(known.map(|(cell, distance)| (cell, LineOfSight::of(distance))).collect())
    }

    /// Mean and standard deviation of the distance over the sky \[Mpc\]; `None` for a map without distances.
    pub fn distance_moments(&self) -> Option<(f64, f64)> {
        let lines_of_sight = (self.cells().iter().zip(self.distances()?))
            .filter_map(|(cell, distance)| distance.moments().map(|(mean, std)| (cell.prob(), mean, std)));
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for (prob, mean, std) in lines_of_sight.filter(|(prob, ..)| *prob > 0.0) {
            total += prob;
            first += prob * mean;
            second += prob * (mean * mean + std * std);
        }
        let mean = first / total;
        (total > 0.0).then(|| (mean, (second / total - mean * mean).max(0.0).sqrt()))
    }

    /// The smallest volume that holds the source with a probability `level` (0–1) \[Mpc³\], in flat space; `None` for a
    /// map without distances, or when too little of its probability has one.
    pub fn credible_volume(&self, level: f64) -> Option<f64> {
        self.credible_volumes([level]).map(|[volume]| volume)
    }

    /// [`MultiOrderMap::credible_volume`] at several levels; `None` when one of them has none.
    pub fn credible_volumes<const N: usize>(&self, levels: [f64; N]) -> Option<[f64; N]> {
        let shells = Shells::of(self)?;
        let volumes = levels.map(|level| shells.volume(level));
        volumes.iter().all(Option::is_some).then(|| volumes.map(Option::unwrap_or_default))
    }
}

/// A line of sight and its largest density in space.
struct Shell<'a> {
    line: LineOfSight<'a>,
    /// Probability of the cell (0–1).
    prob: f64,
    /// Area of the cell [sr].
    area: f64,
    /// Natural logarithm of the largest density [Mpc⁻³].
    ln_peak: f64,
}

/// The lines of sight of a map by falling density in space, dP/dV = prob_density · norm · N(r; mu, sigma): no r². In
/// each the density exceeds a threshold between two distances.
pub(super) struct Shells<'a>(Vec<Shell<'a>>);

/// What lies where the density in space exceeds a threshold. Slopes are by the falling logarithm of the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Searched {
    /// Probability (0–1).
    pub prob: f64,
    prob_slope: f64,
    /// Volume, in flat space [Mpc³].
    pub volume: f64,
    volume_slope: f64,
}

/// Natural logarithm of the density in space at a distance [Mpc] in a line of sight [Mpc⁻³]; `None` when its distance is
/// unknown or it has no probability.
pub(super) fn ln_density(cell: &Cell, distance: &Distance, r: f64) -> Option<f64> {
    let x = (r - distance.mu) / distance.sigma;
    (distance.is_known() && cell.prob_density > 0.0).then(|| ln_peak(cell, distance) - 0.5 * x * x)
}

fn ln_peak(cell: &Cell, Distance { sigma, norm, .. }: &Distance) -> f64 {
    (cell.prob_density * norm / (sigma * (2.0 * PI).sqrt())).ln()
}

impl<'a> Shells<'a> {
    /// `None` for a map without distances.
    pub(super) fn of(map: &'a MultiOrderMap) -> Option<Self> {
        let shell = |(cell, line): (&'a Cell, LineOfSight<'a>)| {
            let ln_peak = ln_peak(cell, line.distance);
            Shell { line, prob: cell.prob(), area: cell.area(), ln_peak }
        };
        let mut shells: Vec<Shell<'a>> = map.lines_of_sight()?.into_iter().map(shell).collect();
        shells.sort_by(|a, b| b.ln_peak.total_cmp(&a.ln_peak));
        Some(Shells(shells))
    }

    /// The smallest volume that holds a probability [Mpc³].
    fn volume(&self, level: f64) -> Option<f64> {
        let high = self.0.first()?.ln_peak;
        let (mut above, mut below) = (high, high - 1.0);
        while self.searched(below).prob < level {
            (above, below) = (below, high - 2.0 * (high - below));
            if below.is_nan() || high - below > 1e4 {
                return None;
            }
        }
        // The probability rises as the threshold sinks.
        let prob = |depth: f64| {
            let searched = self.searched(-depth);
            (searched.prob, searched.prob_slope)
        };
        let depth = solve(prob, level, -above, -below, -0.5 * (above + below));
        Some(self.searched(-depth).volume)
    }

    /// What lies above a threshold of the density, given as its natural logarithm.
    fn searched(&self, ln_threshold: f64) -> Searched {
        let mut sum = Searched { prob: 0.0, prob_slope: 0.0, volume: 0.0, volume_slope: 0.0 };
        let above = self.0.partition_point(|shell| shell.ln_peak > ln_threshold);
        for Shell { line, prob: cell_prob, area, ln_peak } in &self.0[..above] {
            // Half-width of the shell [sigma].
            let x = (2.0 * (ln_peak - ln_threshold)).sqrt();
            let Distance { mu, sigma, .. } = *line.distance;
            let (near, far) = ((mu - x * sigma).max(0.0), (mu + x * sigma).max(0.0));
            let (prob, slope) = line.around(x);
            let per_x = 1.0 / x;
            sum.prob += cell_prob * prob;
            sum.prob_slope += cell_prob * slope * per_x;
            sum.volume += area * (far * far * far - near * near * near) * (1.0 / 3.0);
            sum.volume_slope += area * (far * far + near * near) * sigma * per_x;
        }
        sum
    }

    /// What lies above each of falling thresholds, given as natural logarithms. Between thresholds where it is computed,
    /// it is interpolated to about [`INTERPOLATION_TOLERANCE`], so that the cost hardly grows with their number.
    pub(super) fn searched_at(&self, ln_thresholds: &[f64]) -> Vec<Searched> {
        let (Some(first), Some(last)) = (ln_thresholds.first(), ln_thresholds.last()) else { return Vec::new() };
        let first = self.node(*first);
        let mut found = vec![first.searched; ln_thresholds.len()];
        if *last < first.ln_threshold {
            let middle = 0.5 * (first.ln_threshold + last);
            let (middle, last) = rayon::join(|| self.node(middle), || self.node(*last));
            self.interpolate([first, middle, last], ln_thresholds, &mut found);
        }
        found
    }

    /// Fills in what lies above falling thresholds between the first and the last of three nodes.
    fn interpolate(&self, [first, middle, last]: [Node; 3], ln_thresholds: &[f64], found: &mut [Searched]) {
        let halfway = |a: &Node, b: &Node| 0.5 * (a.ln_threshold + b.ln_threshold);
        let (before, after) = (halfway(&first, &middle), halfway(&middle, &last));
        let is_narrow = before >= first.ln_threshold || after <= last.ln_threshold;
        // Not worth two nodes.
        if ln_thresholds.len() <= 2 || is_narrow {
            for (at, found) in ln_thresholds.iter().zip(found) {
                *found = self.searched(*at);
            }
            return;
        }
        let (before, after) = rayon::join(|| self.node(before), || self.node(after));
        // What each interval gives agrees with its middle: the whole one, and both halves.
        let is_smooth = [[first, middle, last], [first, before, middle], [middle, after, last]]
            .iter()
            .all(|[from, middle, to]| Searched::between(from, to, middle.ln_threshold).is_near(&middle.searched));
        if is_smooth {
            let nodes = [first, before, middle, after, last];
            for (at, found) in ln_thresholds.iter().zip(found) {
                let quarter = nodes[1..4].iter().filter(|node| node.ln_threshold > *at).count();
                *found = Searched::between(&nodes[quarter], &nodes[quarter + 1], *at);
            }
            return;
        }
        let split = ln_thresholds.partition_point(|at| *at > middle.ln_threshold);
        let (above, below) = found.split_at_mut(split);
        rayon::join(
            || self.interpolate([first, before, middle], &ln_thresholds[..split], above),
            || self.interpolate([middle, after, last], &ln_thresholds[split..], below),
        );
    }

    fn node(&self, ln_threshold: f64) -> Node {
        Node { ln_threshold, searched: self.searched(ln_threshold) }
    }
}

/// What lies above a threshold, computed.
#[derive(Debug, Clone, Copy)]
struct Node {
    ln_threshold: f64,
    searched: Searched,
}

impl Searched {
    /// The cubic between two nodes.
    fn between(from: &Node, to: &Node, ln_threshold: f64) -> Searched {
        let (a, b) = (from.searched, to.searched);
        let width = from.ln_threshold - to.ln_threshold;
        let t = (from.ln_threshold - ln_threshold) / width;
        let between = |(a, a_slope): (f64, f64), (b, b_slope): (f64, f64)| {
            cubic(t, (a, a_slope * width), (b, b_slope * width)).max(a.min(b)).min(a.max(b))
        };
        Searched {
            prob: between((a.prob, a.prob_slope), (b.prob, b.prob_slope)),
            volume: between((a.volume, a.volume_slope), (b.volume, b.volume_slope)),
            ..a
        }
    }

    fn is_near(&self, exact: &Searched) -> bool {
        (self.prob - exact.prob).abs() <= INTERPOLATION_TOLERANCE
            && (self.volume - exact.volume).abs() <= INTERPOLATION_TOLERANCE * exact.volume
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::real_maps;
    use super::super::{MapHeader, n_cells};
    use super::*;

    /// ∫₀^∞ rᵏ N(r; mu, sigma) dr by the trapezoidal rule.
    fn integral(k: i32, mu: f64, sigma: f64, to: f64) -> f64 {
        let n = 200_000;
        let step = to / f64::from(n);
        (1..n).map(|i| f64::from(i) * step).map(|r| r.powi(k) * normal_pdf((r - mu) / sigma) / sigma * step).sum()
    }

    #[test]
    fn moments_match_numerical_integration() {
        for (mu, sigma) in [(100.0, 10.0), (10.0, 10.0), (0.0, 5.0), (-15.0, 10.0), (-25.0, 10.0), (-60.0, 10.0)] {
            let [i2, i3, i4] = [2, 3, 4].map(|k| integral(k, mu, sigma, mu.max(0.0) + 12.0 * sigma));
            let distance = Distance { mu, sigma, norm: 1.0 / i2 };
            let (mean, std) = distance.moments().expect("moments");
            assert!((mean / (i3 / i2) - 1.0).abs() < 1e-6, "{mu}: {mean}, expected {}", i3 / i2);
            let expected = (i4 / i2 - (i3 / i2).powi(2)).sqrt();
            assert!((std / expected - 1.0).abs() < 1e-6, "{mu}: {std}, expected {expected}");
            assert!((distance.cdf(1e9) - 1.0).abs() < 1e-5, "{mu}: {}", distance.cdf(1e9));
        }
    }

    #[test]
    fn tabulated_normal_distribution_is_that_of_erf() {
        for i in 0..=100_000 {
            let x = f64::from(i) * 1e-4;
            let (within, density) = normal_near(x);
            assert!((within - libm::erf(x / SQRT_2)).abs() < 1e-12, "{x}: {within}");
            assert!((density - normal_pdf(x)).abs() < 1e-12, "{x}: {density}");
        }
    }

    #[test]
    fn shells_hold_the_probability_between_their_ends() {
        for (mu, sigma) in [(100.0, 10.0), (100.0, 60.0), (10.0, 10.0), (0.0, 5.0), (-15.0, 10.0)] {
            let (mean, std) = Distance { mu, sigma, norm: 1.0 }.moments().expect("moments");
            let distance = Distance::of_moments(mean, std);
            let line = LineOfSight::of(&distance);
            for i in 1..200 {
                let x = 0.05 * f64::from(i);
                let (near, far) = (distance.mu - x * distance.sigma, distance.mu + x * distance.sigma);
                let expected = distance.cdf(far) - distance.cdf(near);
                let (prob, slope) = line.around(x);
                assert!((prob - expected).abs() < 1e-10, "{mu} {sigma} {x}: {prob}, expected {expected}");
                let h = 1e-5;
                let difference = (line.around(x + h).0 - line.around(x - h).0) / (2.0 * h);
                assert!((slope - difference).abs() < 1e-5, "{mu} {sigma} {x}: {slope}, expected {difference}");
            }
        }
    }

    #[test]
    fn moments_round_trip() {
        for (mu, sigma) in [(1000.0, 1.0), (100.0, 30.0), (10.0, 10.0), (-15.0, 10.0), (-100.0, 10.0)] {
            let (mean, std) = Distance { mu, sigma, norm: 1.0 }.moments().expect("moments");
            let back = Distance::of_moments(mean, std);
            let tolerance = 1e-6 * (mu.abs() + sigma);
            assert!((back.mu - mu).abs() < tolerance && (back.sigma - sigma).abs() < tolerance, "{mu}: {back:?}");
            assert!((back.cdf(f64::MAX.sqrt()) - 1.0).abs() < 1e-3, "{back:?}");
        }
        assert_eq!(Distance::of_moments(1.7, 1.0), Distance::UNKNOWN);
        assert_eq!(Distance::of_moments(f64::NAN, 1.0), Distance::UNKNOWN);
        assert_eq!(Distance::UNKNOWN.moments(), None);
    }

    #[test]
    fn equal_distances_match_closed_forms() {
        let (mean, std) = (100.0, 10.0);
        let distance = Distance::of_moments(mean, std);
        let cells: Vec<Cell> = (0..n_cells(1)).map(|ipix| Cell { order: 1, ipix, prob_density: 0.25 / PI }).collect();
        let n = cells.len();
        let map = MultiOrderMap::from_cells(cells, Some(vec![distance; n]), MapHeader::default()).expect("a map");
        let [median] = map.distance_quantiles([0.5]).expect("a median");
        assert!((distance.cdf(median) - 0.5).abs() < 1e-9);
        let (found_mean, found_std) = map.distance_moments().expect("moments");
        assert!((found_mean - mean).abs() < 1e-6 && (found_std - std).abs() < 1e-6);
        // One shell of r² N around mu: its limits hold the level and are equally far from mu.
        let volume = map.credible_volume(0.5).expect("a volume");
        let half = (0..1000)
            .map(|i| 0.02 * f64::from(i))
            .find(|half| distance.cdf(distance.mu + half) - distance.cdf(distance.mu - half) >= 0.5);
        let half = half.expect("a shell");
        let expected = 4.0 * PI / 3.0 * ((distance.mu + half).powi(3) - (distance.mu - half).powi(3));
        assert!((volume / expected - 1.0).abs() < 0.005, "{volume}, expected {expected}");
    }

    #[test]
    fn real_maps_match_widths_and_volumes_of_crossmatch() {
        for (name, bytes, reference) in real_maps() {
            let map = MultiOrderMap::decode(&bytes).expect("a map");
            for (percent, level) in [("50", 0.5), ("90", 0.9)] {
                let ends = map.distance_quantiles([0.5 - level / 2.0, 0.5 + level / 2.0]).expect("quantiles");
                let width = ends[1] - ends[0];
                let expected = reference["dist_width_Mpc"][percent].as_f64().expect("a width");
                assert!((width / expected - 1.0).abs() < 1e-3, "{name}: width {width}, expected {expected}");
                let volume = map.credible_volume(level).expect("a volume");
                let expected = reference["credible_volume_Mpc3"][percent].as_f64().expect("a volume");
                // The reference works on a grid of distances.
                assert!((volume / expected - 1.0).abs() < 0.01, "{name}: volume {volume}, expected {expected}");
            }
        }
    }
}
