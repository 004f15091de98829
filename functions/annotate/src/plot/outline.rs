//! Outlines of filled areas, whatever the projection does to their rings: cut at an edge, open, or around a pole.

use super::paper::simplified;
use super::projection::Point;

/// Height of the rows in which an area is sampled.
const ROW_HEIGHT: f64 = 1.0;

/// Outlines of the area to the right of closed lines, sampled in rows: `span` gives the start and end of a row, with
/// `centre` between. Without lines, the area is everything (`whole`) or nothing.
pub(super) fn filled_outlines(
    (top, height): (f64, f64),
    centre: f64,
    span: impl Fn(f64) -> Option<(f64, f64)>,
    lines: &[Vec<Point>],
    whole: bool,
) -> Vec<Vec<Point>> {
    let count = (height / ROW_HEIGHT) as usize;
    let middle = |row: usize| top + (row as f64 + 0.5) * ROW_HEIGHT;
    let (mut rows, mut column) = (vec![Crossings::default(); count], Crossings::default());
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let first_below = |y: f64| ((y - top) / ROW_HEIGHT - 0.5).ceil().clamp(0.0, count as f64) as usize;
        let (first, end) = (first_below(y0.min(y1)), first_below(y0.max(y1)));
        for (row, crossings) in (first..end).zip(&mut rows[first..end]) {
            let x = x0 + (middle(row) - y0) / (y1 - y0) * (x1 - x0);
            crossings.0.push((x, if y1 < y0 { 1 } else { -1 }));
        }
        if (x0 < centre) != (x1 < centre) {
            let y = y0 + (centre - x0) / (x1 - x0) * (y1 - y0);
            column.0.push((y, if x0 < x1 { 1 } else { -1 }));
        }
    }
    rows.iter_mut().chain([&mut column]).for_each(|crossings| crossings.0.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let elsewhere = rows.iter().find_map(|row| row.depth(centre)).unwrap_or(i32::from(whole));
    let mut areas = Areas::default();
    for (row, crossings) in rows.iter().enumerate() {
        let mut runs: Vec<RowPart> = Vec::new();
        if let Some((left, right)) = span(middle(row)) {
            let depth = crossings.depth(f64::NEG_INFINITY).or_else(|| column.depth(middle(row)));
            let (mut from, mut depth) = (left, depth.unwrap_or(elsewhere));
            for (x, change) in crossings.0.iter().copied().chain([(right, 0)]) {
                let to = x.clamp(left, right);
                if depth > 0 && to > from {
                    match runs.last_mut() {
                        Some(before) if before.to == from => before.to = to,
                        _ => runs.push(RowPart { from, to }),
                    }
                }
                (from, depth) = (to, depth + change);
            }
            runs.retain(|run| run.to - run.from > 0.05);
        }
        areas.continue_with(middle(row), runs);
    }
    areas.continue_with(middle(count), Vec::new());
    areas.closed
}

/// A part of a row inside.
#[derive(Debug, Clone, Copy)]
struct RowPart {
    from: f64,
    to: f64,
}

impl RowPart {
    fn overlaps(&self, other: &RowPart) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// Runs of consecutive rows, each below the one before.
struct Area {
    last: RowPart,
    /// The left edge downwards, and the right edge.
    left: Vec<Point>,
    right: Vec<Point>,
}

/// The areas that the next row may continue, and the outlines of the others.
#[derive(Default)]
struct Areas {
    open: Vec<Area>,
    closed: Vec<Vec<Point>>,
}

impl Areas {
    /// Takes the next row. A run continues an area when it touches no other, and the area no other run.
    fn continue_with(&mut self, y: f64, runs: Vec<RowPart>) {
        let (above, below) = (y - 0.5 * ROW_HEIGHT, y);
        let mut open = Vec::with_capacity(runs.len());
        let mut before = std::mem::take(&mut self.open);
        let touched = |area: &Area| runs.iter().filter(|run| run.overlaps(&area.last)).count();
        let continued: Vec<bool> = before.iter().map(|area| touched(area) == 1).collect();
        let touching: Vec<Option<usize>> = runs
            .iter()
            .map(|run| {
                let mut areas = (0..before.len()).filter(|i| run.overlaps(&before[*i].last));
                areas.next().filter(|i| areas.next().is_none() && continued[*i])
            })
            .collect();
        for (run, area) in runs.iter().zip(&touching) {
            let mut area = match area {
                Some(i) => {
                    let area = &mut before[*i];
                    Area {
                        last: area.last,
                        left: std::mem::take(&mut area.left),
                        right: std::mem::take(&mut area.right),
                    }
                }
                None => Area { last: *run, left: vec![(run.from, above)], right: vec![(run.to, above)] },
            };
            area.left.push((run.from, below));
            area.right.push((run.to, below));
            area.last = *run;
            open.push(area);
        }
        self.open = open;
        for mut area in before.into_iter().filter(|area| !area.left.is_empty()) {
            area.left.push((area.last.from, above));
            area.right.push((area.last.to, above));
            let mut outline = simplified(&area.left);
            outline.extend(simplified(&area.right).into_iter().rev());
            self.closed.push(outline);
        }
    }
}

/// The crossings of lines with a row or column, in order, each with its change of the winding number.
#[derive(Default, Clone)]
struct Crossings(Vec<(f64, i32)>);

impl Crossings {
    /// The winding number at a point; `None` without crossings.
    fn depth(&self, at: f64) -> Option<i32> {
        let (_, first) = self.0.first()?;
        let passed = self.0.iter().take_while(|(place, _)| *place <= at);
        Some(i32::from(*first < 0) + passed.map(|(_, change)| change).sum::<i32>())
    }
}

/// The area within outlines that do not overlap.
#[cfg(test)]
pub(super) fn area(outlines: &[Vec<Point>]) -> f64 {
    let twice = |outline: &Vec<Point>| -> f64 {
        let next = outline.iter().cycle().skip(1);
        outline.iter().zip(next).map(|((x0, y0), (x1, y1))| x0 * y1 - x1 * y0).sum()
    };
    outlines.iter().map(|outline| 0.5 * twice(outline).abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filled area of a square with a side of 100.
    fn filled(lines: &[Vec<Point>], whole: bool) -> f64 {
        area(&filled_outlines((0.0, 100.0), 50.0, |_| Some((0.0, 100.0)), lines, whole))
    }

    fn ring(points: &[Point]) -> Vec<Point> {
        points.iter().chain(points.first()).copied().collect()
    }

    #[test]
    fn fills_the_area_to_the_right_of_lines() {
        // Clockwise around the inside.
        let outer = ring(&[(20.0, 80.0), (20.0, 20.0), (80.0, 20.0), (80.0, 80.0)]);
        let inner: Vec<Point> = ring(&[(40.0, 60.0), (60.0, 60.0), (60.0, 40.0), (40.0, 40.0)]);
        for (lines, whole, expected) in [
            (vec![], false, 0.0),
            (vec![], true, 10_000.0),
            (vec![outer.clone()], true, 3600.0),
            (vec![outer.clone(), inner.clone()], true, 3200.0),
            (vec![inner], false, 9600.0),
            // Across the left edge, and between rows.
            (vec![ring(&[(-30.0, 80.0), (-30.0, 20.0), (30.0, 20.0), (30.0, 80.0)])], false, 1800.0),
            (vec![ring(&[(10.0, 50.4), (10.0, 50.1), (90.0, 50.1), (90.0, 50.4)])], true, 0.0),
            // Above a line between two rows that leaves on both sides.
            (vec![vec![(200.0, 40.1), (-100.0, 40.2)]], false, 4000.0),
        ] {
            let area = filled(&lines, whole);
            assert!((area - expected).abs() < 1e-6, "{lines:?}: {area}, expected {expected}");
        }
    }

    #[test]
    fn a_ring_of_four_parts_is_outlined_without_its_hole() {
        let circle = |radius: f64, turn: f64| -> Vec<Point> {
            let at = |i: i32| (turn * f64::from(i)).to_radians().sin_cos();
            (0..=360).map(at).map(|(sin, cos)| (50.0 + radius * cos, 50.0 + radius * sin)).collect()
        };
        let rings = [circle(40.0, 1.0), circle(20.0, -1.0)];
        let outlines = filled_outlines((0.0, 100.0), 50.0, |_| Some((0.0, 100.0)), &rings, true);
        // Above the hole, on both sides of it, and below.
        assert_eq!(outlines.len(), 4);
        let expected = std::f64::consts::PI * (1600.0 - 400.0);
        assert!((area(&outlines) / expected - 1.0).abs() < 0.01, "{}, expected {expected}", area(&outlines));
        assert!(outlines.iter().map(Vec::len).sum::<usize>() < 120);
    }
}
