//! A part of the sky as HEALPix cells of one order.

use std::f64::consts::PI;
use std::fmt::Write;
use std::ops::Range;

use super::earth::unit;

/// The order of every coverage: cells of 0.11° (0.0131 deg²), as the GWTM's listeners use.
pub const ORDER: u8 = 9;
/// Cells of the whole sky at [`ORDER`].
pub const CELLS: u64 = 12 << (2 * ORDER); // 12 · 4^order, Górski et al. 2005, doi:10.1086/427976

/// No point of a cell of order k is farther than REACH / 2^k from its centre [rad]. (The largest distance times 2^k
/// grows from 0.841 at order 0, the pole, to 1.05; a test checks it.)
const REACH: f64 = 1.1;

/// A cone on the sky.
struct Cone {
    /// Unit vector.
    axis: [f64; 3],
    /// Half the opening angle [rad].
    radius: f64,
}

impl Cone {
    /// Angle between the axis and a unit vector [rad].
    fn distance(&self, [x, y, z]: [f64; 3]) -> f64 {
        let [a, b, c] = self.axis;
        (a * x + b * y + c * z).clamp(-1.0, 1.0).acos()
    }
}

/// A part of the sky as NESTED HEALPix cells of [`ORDER`], ICRS.
///
/// A cell belongs to a region when its centre does, so a coverage and its complement tile the sky, and the area differs
/// from the region's by less than its ring of boundary cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Ranges of `ipix`: sorted, disjoint, not touching, not empty.
    ranges: Vec<Range<u64>>,
}

impl Coverage {
    /// The cells whose centres lie within `radius` \[deg\] of a direction, a closed small circle.
    ///
    /// `ra`, `dec`: the axis, ICRS \[deg\], any finite value; a radius of 180° or more is the whole sky.
    /// gwtm_cron draws its circles in the plane of longitude and latitude, up to 4.5° short at a radius of 67°.
    pub fn cone(ra: f64, dec: f64, radius: f64) -> Self {
        let cone = Cone { axis: unit(ra.to_radians(), dec.to_radians()), radius: radius.to_radians() };
        Coverage::of(|direction, reach| {
            let from_axis = cone.distance(direction);
            if from_axis + reach <= cone.radius {
                Some(true)
            } else if from_axis - reach > cone.radius {
                Some(false)
            } else {
                None
            }
        })
    }

    /// The cells whose centres lie within a region.
    ///
    /// `within(direction, reach)` returns whether all points at most `reach` [rad] from a unit vector are inside or all
    /// outside, or `None` when undecided; at a reach of 0, `None` counts as outside.
    pub(super) fn of(within: impl Fn([f64; 3], f64) -> Option<bool>) -> Self {
        let mut coverage = Coverage { ranges: Vec::new() };
        for base in 0..12 {
            coverage.add(&within, 0, base);
        }
        coverage
    }

    /// Adds the part of one cell that is in a region. Must be called in the order of the NESTED curve.
    fn add(&mut self, within: &impl Fn([f64; 3], f64) -> Option<bool>, order: u8, ipix: u64) {
        let (lon, lat) = cdshealpix::nested::center(order, ipix);
        let reach = if order == ORDER { 0.0 } else { REACH / f64::from(1_u32 << order) };
        match within(unit(lon, lat), reach) {
            Some(true) => {
                let size = 1 << (2 * (ORDER - order));
                let (start, end) = (ipix * size, (ipix + 1) * size);
                match self.ranges.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => self.ranges.push(start..end),
                }
            }
            None if order < ORDER => (4 * ipix..4 * ipix + 4).for_each(|child| self.add(within, order + 1, child)),
            Some(false) | None => {}
        }
    }

    /// The rest of the sky.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut free_from = 0;
        for taken in &self.ranges {
            if free_from < taken.start {
                ranges.push(free_from..taken.start);
            }
            free_from = taken.end;
        }
        if free_from < CELLS {
            ranges.push(free_from..CELLS);
        }
        Coverage { ranges }
    }

    /// Whether the cell `ipix` of [`ORDER`] (NESTED) belongs.
    pub fn contains_cell(&self, ipix: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= ipix);
        after > 0 && ipix < self.ranges[after - 1].end
    }

    /// Whether the cell that contains a direction, ICRS \[deg\], belongs.
    pub fn contains(&self, ra: f64, dec: f64) -> bool {
        let lat = dec.clamp(-90.0, 90.0).to_radians();
        self.contains_cell(cdshealpix::nested::hash(ORDER, ra.rem_euclid(360.0).to_radians(), lat))
    }

    /// Area of the cells \[deg²\].
    pub fn area(&self) -> f64 {
        let cells: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        cells as f64 / CELLS as f64 * 4.0 * PI * (180.0 / PI).powi(2)
    }

    /// The coarsest cells, (order, ipix), in the order of the sky's NESTED curve.
    pub fn cells(&self) -> Vec<(u8, u64)> {
        let mut cells = Vec::new();
        for range in &self.ranges {
            let mut at = range.start;
            while at < range.end {
                let aligned = (at.trailing_zeros() / 2).min(u32::from(ORDER));
                let fitting = (range.end - at).ilog2() / 2;
                let k = aligned.min(fitting);
                cells.push((ORDER - k as u8, at >> (2 * k)));
                at += 1 << (2 * k);
            }
        }
        cells
    }

    /// IVOA MOC JSON, `{"3":[…],"9":[…]}`: orders ascending, cells ascending, no white space; the key of [`ORDER`] is
    /// always present, since readers take the finest key as the MOC's order. Equal coverages have equal bytes.
    ///
    /// IVOA MOC 2.0, section 4.3.2 (<https://www.ivoa.net/documents/MOC/>).
    pub fn to_json(&self) -> Vec<u8> {
        let mut orders: [Vec<u64>; ORDER as usize + 1] = Default::default();
        for (order, ipix) in self.cells() {
            orders[usize::from(order)].push(ipix);
        }
        let mut json = String::from("{");
        for (order, cells) in orders.iter().enumerate() {
            if cells.is_empty() && order != usize::from(ORDER) {
                continue;
            }
            let comma = if json.len() > 1 { "," } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(json, "{comma}\"{order}\":[");
            for (i, ipix) in cells.iter().enumerate() {
                let _ = write!(json, "{}{ipix}", if i == 0 { "" } else { "," });
            }
            json.push(']');
        }
        json.push('}');
        json.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use cdshealpix::compass_point::Cardinal;
    use moc::deser::json::from_json_aladin;
    use moc::moc::{CellMOCIntoIterator, CellMOCIterator, HasMaxDepth};
    use moc::qty::Hpx;
    use proptest::prelude::*;

    use super::*;

    /// Angular distance [rad], haversine.
    fn distance(lon1: f64, lat1: f64, lon2: f64, lat2: f64) -> f64 {
        let h = ((lat1 - lat2) / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * ((lon1 - lon2) / 2.0).sin().powi(2);
        2.0 * h.sqrt().min(1.0).asin()
    }

    /// Area of a cap [deg²]: 2π(1 − cos r).
    fn cap(radius: f64) -> f64 {
        2.0 * PI * (1.0 - radius.to_radians().cos()) * (180.0 / PI).powi(2)
    }

    /// Upper limit on the area of the cells that a circle of `radius` [deg] crosses: those within a cell's largest
    /// centre-to-vertex distance of it [deg²].
    fn ring(radius: f64) -> f64 {
        let reach = cdshealpix::largest_center_to_vertex_distance(ORDER, 0.0, 0.0).to_degrees() * 1.5;
        cap((radius + reach).min(180.0)) - cap((radius - reach).max(0.0))
    }

    const AXES: [(f64, f64); 11] = [
        (187.70593, 12.39112),
        (45.0, 88.5),
        (301.25, -89.2),
        (0.05, -20.0),
        (359.97, 33.3),
        (270.0, -50.0),
        (0.0, 90.0),
        (123.0, -90.0),
        (0.0, 0.0),
        (360.0, 41.8103),
        (45.0, 0.0),
    ];

    #[test]
    fn cells_belong_by_their_centre() {
        for (ra, dec) in AXES {
            for radius in [65.0, 67.0, 0.05, 90.0, 113.0, 155.0] {
                let coverage = Coverage::cone(ra, dec, radius);
                let complement = coverage.complement();
                let mut wrong = 0;
                // All cells for one radius; for the others a sample, with a step coprime to the number of cells.
                let step = if radius == 65.0 && ra != 45.0 { 1 } else { 7 };
                for ipix in (0..CELLS).step_by(step) {
                    let (lon, lat) = cdshealpix::nested::center(ORDER, ipix);
                    let from_circle = distance(lon, lat, ra.to_radians(), dec.to_radians()) - f64::to_radians(radius);
                    let inside = coverage.contains_cell(ipix);
                    // Tolerance for rounding: 1e-6″.
                    if from_circle.abs() > 5e-12 && inside != (from_circle <= 0.0)
                        || inside == complement.contains_cell(ipix)
                    {
                        wrong += 1;
                    }
                }
                assert_eq!(wrong, 0, "axis {ra} {dec}, radius {radius}");
                assert!((coverage.area() - cap(radius)).abs() < ring(radius), "axis {ra} {dec}, radius {radius}");
            }
        }
    }

    #[test]
    fn no_cell_exceeds_reach() {
        let mut greatest: f64 = 0.0;
        for order in 0..=ORDER {
            let cells = 12_u64 << (2 * order);
            for ipix in (0..cells).step_by(if order < 7 { 1 } else { 37 }) {
                let (lon, lat) = cdshealpix::nested::center(order, ipix);
                // The corners, and points along the edges.
                let edges = cdshealpix::nested::path_along_cell_edge(order, ipix, &Cardinal::S, false, 4);
                for &(edge_lon, edge_lat) in edges.iter() {
                    let reach = distance(lon, lat, edge_lon, edge_lat) * f64::from(1_u32 << order);
                    greatest = greatest.max(reach);
                }
            }
        }
        assert!(greatest < REACH && greatest > 0.84, "{greatest}");
    }

    #[test]
    fn lat_cap_has_its_area() {
        assert!((cap(65.0) - 11_909.353).abs() < 1e-3);
        for (ra, dec) in AXES {
            // The error is far below the ring of boundary cells: 3 of 11,909 deg².
            let area = Coverage::cone(ra, dec, 65.0).area();
            assert!((area - cap(65.0)).abs() < 3.0, "axis {ra} {dec}: {area}");
        }
    }

    #[test]
    fn empty_and_whole_sky() {
        let sky = Coverage::cone(10.0, 10.0, 180.0);
        assert_eq!(sky.to_json(), br#"{"0":[0,1,2,3,4,5,6,7,8,9,10,11],"9":[]}"#);
        assert_eq!(sky.complement().to_json(), br#"{"9":[]}"#);
        assert_eq!(sky.complement().complement(), sky);
        assert!((sky.area() - 41_252.961_249_419_27).abs() < 1e-6);
        assert!(sky.contains(f64::from(-1), 91.0) && !sky.complement().contains(0.0, 0.0));
        assert_eq!(Coverage::cone(10.0, 10.0, -1.0).cells().len(), 0);
        assert_eq!(Coverage::cone(-350.0, 10.0, 65.0), Coverage::cone(10.0, 10.0, 65.0));
    }

    #[test]
    fn json_is_readable_by_another_moc_library() {
        for (ra, dec) in AXES {
            let coverage = Coverage::cone(ra, dec, 65.0);
            let json = String::from_utf8(coverage.to_json()).expect("text");
            let read = from_json_aladin::<u64, Hpx<u64>>(&json).expect("a MOC").into_cell_moc_iter();
            assert_eq!(read.depth_max(), ORDER);
            let ranges: Vec<Range<u64>> = read.ranges().map(|range| (range.start >> 40)..(range.end >> 40)).collect();
            assert_eq!(ranges, coverage.ranges, "axis {ra} {dec}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_cone_and_its_complement_tile_the_sky(
            ra in 0.0..360.0, dec in -90.0..90.0, radius in 0.0..180.0,
        ) {
            let cone = Coverage::cone(ra, dec, radius);
            let rest = cone.complement();
            prop_assert!((cone.area() + rest.area() - 41_252.961_249_419_27).abs() < 1e-6);
            prop_assert!((cone.area() - cap(radius)).abs() <= ring(radius));
            prop_assert_eq!(&rest.complement(), &cone);
            for coverage in [&cone, &rest] {
                prop_assert!(coverage.ranges.iter().all(|range| range.start < range.end && range.end <= CELLS));
                prop_assert!(coverage.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
                // Four sibling cells are written as their parent.
                let cells: std::collections::HashSet<_> = coverage.cells().into_iter().collect();
                for &(order, ipix) in &cells {
                    prop_assert!(
                        order == 0 || (0..4).any(|i| !cells.contains(&(order, ipix & !3 | i))), "{order}/{ipix}"
                    );
                }
            }
        }
    }
}
