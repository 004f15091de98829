//! Writes SVG.

use std::fmt::Write;

use super::projection::Point;
use crate::text::escaped;

/// Height of the rows that fill areas.
const ROW_HEIGHT: f64 = 1.0;

/// Alignment of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn as_str(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

/// A drawing. Writing to its string cannot fail, so results are ignored.
pub(super) struct Paper {
    svg: String,
}

impl Paper {
    pub(super) fn new((width, height): (f64, f64)) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"'Noto Sans', sans-serif\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        Paper { svg }
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn styled(&mut self, (x, y): Point, size: f64, anchor: Anchor, style: &str, text: &str) {
        if !text.is_empty() {
            let (anchor, text) = (anchor.as_str(), escaped(text));
            let _ = writeln!(
                self.svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>"
            );
        }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: &str, text: &str) {
        self.styled((x, y), size, anchor, &format!("fill=\"{colour}\""), text);
    }

    pub(super) fn bold(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: &str, text: &str) {
        self.styled((x, y), size, anchor, &format!("fill=\"{colour}\" font-weight=\"bold\""), text);
    }

    /// A text with a white outline, readable over lines.
    pub(super) fn label(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: &str, text: &str) {
        let halo = "fill=\"#ffffff\" stroke=\"#ffffff\" stroke-width=\"5\" stroke-linejoin=\"round\"";
        self.styled((x, y), size, anchor, halo, text);
        self.text(x, y, size, anchor, colour, text);
    }

    /// A text that shrinks, and is then truncated, to fit a width.
    pub(super) fn fitted(&mut self, x: f64, y: f64, size: f64, width: f64, colour: &str, text: &str) {
        // Noto Sans is on average slightly more than half as wide as high.
        let count = text.chars().count().max(1) as f64;
        let fitting = (width / (0.56 * count)).min(size);
        if fitting >= 0.75 * size {
            return self.text(x, y, fitting, Anchor::Start, colour, text);
        }
        let kept = (width / (0.56 * 0.75 * size)) as usize;
        let cut: String = text.chars().take(kept.saturating_sub(1)).chain(['…']).collect();
        self.text(x, y, 0.75 * size, Anchor::Start, colour, &cut);
    }

    /// Polylines; `dashes` as in SVG, empty for solid lines.
    pub(super) fn line(&mut self, lines: &[Vec<Point>], colour: &str, width: f64, dashes: &str) {
        let mut path = String::new();
        for line in lines.iter().filter(|line| line.len() > 1) {
            let mut last = (f64::NAN, f64::NAN);
            for (i, (x, y)) in line.iter().enumerate() {
                // Points closer than a third of a unit are indistinguishable.
                if i > 0 && i + 1 < line.len() && (x - last.0).hypot(y - last.1) < 0.35 {
                    continue;
                }
                let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
                last = (*x, *y);
            }
        }
        if path.is_empty() {
            return;
        }
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        let _ = writeln!(
            self.svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dashes}/>"
        );
    }

    pub(super) fn rectangle(
        &mut self,
        (x, y): Point,
        (width, height): Point,
        fill: &str,
        stroke: &str,
        line: f64,
        dashes: &str,
    ) {
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" stroke=\"{stroke}\" \
             stroke-width=\"{line}\" stroke-dasharray=\"{}\"/>",
            if dashes.is_empty() { "none" } else { dashes }
        );
    }

    pub(super) fn circle(&mut self, (x, y): Point, radius: f64, fill: &str, stroke: &str, line: f64) {
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{line}\"/>"
        );
    }

    pub(super) fn plus(&mut self, (x, y): Point, arm: f64, colour: &str) {
        self.line(&[vec![(x - arm, y), (x + arm, y)], vec![(x, y - arm), (x, y + arm)]], colour, 3.0, "");
    }

    pub(super) fn ellipse(&mut self, (x, y): Point, (rx, ry): Point, fill: &str, stroke: &str, line: f64) {
        let _ = writeln!(
            self.svg,
            "<ellipse cx=\"{x:.1}\" cy=\"{y:.1}\" rx=\"{rx:.1}\" ry=\"{ry:.1}\" fill=\"{fill}\" stroke=\"{stroke}\" \
             stroke-width=\"{line}\"/>"
        );
    }

    /// Fills the area to the right of closed lines, row by row: `span` gives the start and end of a row, with `centre`
    /// between. Without lines, fills everything (`whole`) or nothing.
    pub(super) fn fill(
        &mut self,
        (top, height): (f64, f64),
        centre: f64,
        span: impl Fn(f64) -> Option<(f64, f64)>,
        lines: &[Vec<Point>],
        colour: &str,
        whole: bool,
    ) {
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
        let mut path = String::new();
        for (row, crossings) in rows.iter().enumerate() {
            let Some((left, right)) = span(middle(row)) else { continue };
            let depth = crossings.depth(f64::NEG_INFINITY).or_else(|| column.depth(middle(row)));
            let (mut from, mut depth) = (left, depth.unwrap_or(elsewhere));
            for (x, change) in crossings.0.iter().copied().chain([(right, 0)]) {
                let to = x.clamp(left, right);
                if depth > 0 && to - from > 0.05 {
                    // Slightly higher than the row, to avoid visible seams.
                    let (y, width) = (top + row as f64 * ROW_HEIGHT, to - from);
                    let _ = write!(path, "M{from:.1} {y:.1}h{width:.1}v{:.1}h-{width:.1}z", ROW_HEIGHT + 0.1);
                }
                (from, depth) = (to, depth + change);
            }
        }
        if !path.is_empty() {
            let _ = writeln!(self.svg, "<path d=\"{path}\" fill=\"{colour}\" shape-rendering=\"crispEdges\"/>");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The filled area of a square with a side of 100.
    fn filled(lines: &[Vec<Point>], whole: bool) -> f64 {
        let mut paper = Paper::new((100.0, 100.0));
        paper.fill((0.0, 100.0), 50.0, |_| Some((0.0, 100.0)), lines, "#000000", whole);
        let widths = paper.svg.split('h').filter_map(|rest| rest.split_once('v')?.0.parse::<f64>().ok());
        widths.sum::<f64>() * ROW_HEIGHT
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
}
