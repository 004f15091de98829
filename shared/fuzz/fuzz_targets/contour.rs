//! Arbitrary cells to the contours: closed rings in range, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use science::skymap::{Cell, MapHeader, MultiOrderMap, contour};

fuzz_target!(|bytes: &[u8]| {
    let Some((level, bytes)) = bytes.split_first() else { return };
    // Each byte splits a cell, each second byte gives a density.
    let mut cells: Vec<(u8, u64)> = (0..12).map(|ipix| (0, ipix)).collect();
    for split in bytes.iter().step_by(2).take(200) {
        let (order, ipix) = cells.swap_remove(usize::from(*split) % cells.len());
        if order < 12 {
            cells.extend((0..4).map(|child| (order + 1, 4 * ipix + child)));
        } else {
            cells.push((order, ipix));
        }
    }
    let mut densities = bytes.iter().skip(1).step_by(2).cycle();
    let mut cells: Vec<Cell> = cells
        .into_iter()
        .map(|(order, ipix)| {
            let exponent = i32::from(densities.next().copied().unwrap_or(1));
            let prob_density = if exponent == 0 { 0.0 } else { 1.1f64.powi(exponent) };
            Cell { order, ipix, prob_density }
        })
        .collect();
    let total: f64 = cells.iter().map(Cell::prob).sum();
    cells.iter_mut().for_each(|cell| cell.prob_density /= total);
    let Ok(map) = MultiOrderMap::from_cells(cells, None, MapHeader::default()) else { return };
    let contours = contour::contours(&map, &[level % 99 + 1]).expect("a level in range");
    for ring in contours.iter().flat_map(|contour| &contour.rings) {
        assert!(ring.len() >= 4 && ring.first() == ring.last());
        assert!(ring.iter().all(|[ra, dec]| (0.0..360.0).contains(ra) && dec.abs() <= 90.0));
    }
});
