//! Adjacency of a map's cells.

use cdshealpix::compass_point::MainWind;

use super::{Cell, MAX_ORDER, MultiOrderMap};

/// Steps across the sides of a cell, counterclockwise seen from outside; side k runs from corner k to corner k + 1.
pub(super) const SIDES: [(i8, i8); 4] = [(0, -1), (1, 0), (0, 1), (-1, 0)]; // SE, NE, NW, SW
/// Steps across the corners, counterclockwise.
pub(super) const CORNERS: [(i8, i8); 4] = [(-1, -1), (1, -1), (1, 1), (-1, 1)]; // S, E, N, W

/// The bits of a NESTED number that hold the north-east and the north-west coordinate.
const X: u64 = 0x5555_5555_5555_5555;
const Y: u64 = !X;

/// Two cells that share a border: a whole side of the finer one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Border {
    /// The finer cell, whose side it is.
    pub(super) fine: u32,
    pub(super) other: u32,
    pub(super) side: u8,
}

/// Every border of a map, once.
pub(super) fn borders(map: &MultiOrderMap) -> Vec<Border> {
    let mut borders = Vec::with_capacity(2 * map.cells().len());
    for (i, cell) in map.cells().iter().enumerate() {
        for (side, way) in SIDES.iter().enumerate() {
            // A side always has a neighbour.
            let Some(neighbour) = step(cell.order, cell.ipix, *way) else { continue };
            let other = map.cell_with(neighbour << (2 * (MAX_ORDER - cell.order)));
            let order = map.cells()[other].order;
            if order < cell.order || (order == cell.order && i < other) {
                borders.push(Border { fine: i as u32, other: other as u32, side: side as u8 });
            }
        }
    }
    borders
}

/// The number, at order `order`, of the cell in a corner of a coarser cell.
pub(super) fn in_corner(cell: &Cell, corner: usize, order: u8) -> u64 {
    let deeper = 2 * (order - cell.order);
    let all = (1u64 << deeper) - 1;
    let (dx, dy) = CORNERS[corner];
    let x = if dx > 0 { all & X } else { 0 };
    let y = if dy > 0 { all & Y } else { 0 };
    (cell.ipix << deeper) | x | y
}

/// The cell one step away, `way` in (north-east, north-west); `None` at corners where only three base cells meet.
pub(super) fn step(order: u8, ipix: u64, way: (i8, i8)) -> Option<u64> {
    let within = (1u64 << (2 * order)) - 1;
    let move_along = |axis: u64, by: i8| -> Option<u64> {
        let (at, all) = (ipix & axis & within, axis & within);
        match by {
            0 => Some(at),
            1 if at != all => Some(((at | !axis) + 1) & all),
            -1 if at != 0 => Some((at - 1) & all),
            _ => None,
        }
    };
    match (move_along(X, way.0), move_along(Y, way.1)) {
        (Some(x), Some(y)) => Some((ipix & !within) | x | y),
        _ => {
            let wind = match way {
                (1, 0) => MainWind::NE,
                (0, 1) => MainWind::NW,
                (-1, 0) => MainWind::SW,
                (0, -1) => MainWind::SE,
                (1, 1) => MainWind::N,
                (-1, -1) => MainWind::S,
                (1, -1) => MainWind::E,
                _ => MainWind::W,
            };
            cdshealpix::nested::get(order).neighbour(ipix, wind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_match_cdshealpix() {
        let winds = [
            ((1, 0), MainWind::NE),
            ((0, 1), MainWind::NW),
            ((-1, 0), MainWind::SW),
            ((0, -1), MainWind::SE),
            ((1, 1), MainWind::N),
            ((-1, -1), MainWind::S),
            ((1, -1), MainWind::E),
            ((-1, 1), MainWind::W),
        ];
        for order in 0..4 {
            for ipix in 0..super::super::n_cells(order) {
                for (way, wind) in winds {
                    let expected = cdshealpix::nested::get(order).neighbour(ipix, wind);
                    assert_eq!(step(order, ipix, way), expected, "order {order} ipix {ipix} {way:?}");
                }
            }
        }
    }
}
