//! SVG, written piece by piece.

use std::fmt::Write;

use super::projection::Point;
use crate::text::escaped;

/// How high the rows are that fill areas.
const ROW: f64 = 1.0;

/// Which end of a text is at its place.
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

/// A drawing in the making. Writing into a string cannot fail, so what it answers is not looked at.
pub(super) struct Paper {
    svg: String,
    clips: usize,
}

impl Paper {
    pub(super) fn new((width, height): (f64, f64)) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"'Noto Sans', sans-serif\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        Paper { svg, clips: 0 }
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

    /// A text with white around it, to be read over lines.
    pub(super) fn label(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: &str, text: &str) {
        let halo = "fill=\"#ffffff\" stroke=\"#ffffff\" stroke-width=\"5\" stroke-linejoin=\"round\"";
        self.styled((x, y), size, anchor, halo, text);
        self.text(x, y, size, anchor, colour, text);
    }

    /// A text that becomes smaller, and at last is cut, where it would be too wide.
    pub(super) fn fitted(&mut self, x: f64, y: f64, size: f64, width: f64, colour: &str, text: &str) {
        // Noto Sans is a little over half as wide as high on average.
        let count = text.chars().count().max(1) as f64;
        let fitting = (width / (0.56 * count)).min(size);
        if fitting >= 0.75 * size {
            return self.text(x, y, fitting, Anchor::Start, colour, text);
        }
        let kept = (width / (0.56 * 0.75 * size)) as usize;
        let cut: String = text.chars().take(kept.saturating_sub(1)).chain(['…']).collect();
        self.text(x, y, 0.75 * size, Anchor::Start, colour, &cut);
    }

    /// Lines in pieces; `dashes` as in SVG, nothing for none.
    pub(super) fn line(&mut self, pieces: &[Vec<Point>], colour: &str, width: f64, dashes: &str) {
        let mut path = String::new();
        for piece in pieces.iter().filter(|piece| piece.len() > 1) {
            let mut last = (f64::NAN, f64::NAN);
            for (i, (x, y)) in piece.iter().enumerate() {
                // What is nearer than a third of a unit cannot be seen.
                if i > 0 && i + 1 < piece.len() && (x - last.0).hypot(y - last.1) < 0.35 {
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

    /// Draws only inside a rectangle.
    pub(super) fn inside(&mut self, (x, y): Point, (width, height): Point, draw: impl FnOnce(&mut Self)) {
        self.clips += 1;
        let id = self.clips;
        let _ = writeln!(
            self.svg,
            "<clipPath id=\"clip{id}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/></clipPath>\n\
             <g clip-path=\"url(#clip{id})\">"
        );
        draw(self);
        self.svg.push_str("</g>\n");
    }

    /// Fills what lies to the right of closed lines, row by row: `span` is where a row begins and ends. A row that no
    /// line crosses is filled when the place in its middle `is_inside`.
    pub(super) fn fill(
        &mut self,
        (top, height): (f64, f64),
        span: impl Fn(f64) -> Option<(f64, f64)>,
        lines: &[Vec<Point>],
        colour: &str,
        is_inside: impl Fn(Point) -> bool,
    ) {
        let rows = (height / ROW) as usize;
        let middle = |row: usize| top + (row as f64 + 0.5) * ROW;
        // Where lines cross the middles of rows, and what that adds to how often a place is inside.
        let mut crossings: Vec<Vec<(f64, i32)>> = vec![Vec::new(); rows];
        for pair in lines.iter().flat_map(|line| line.windows(2)) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
            let first_below = |y: f64| ((y - top) / ROW - 0.5).ceil().clamp(0.0, rows as f64) as usize;
            for (row, found) in (first_below(y0.min(y1))..first_below(y0.max(y1))).map(|row| (row, middle(row))) {
                let x = x0 + (found - y0) / (y1 - y0) * (x1 - x0);
                crossings[row].push((x, if y1 < y0 { 1 } else { -1 }));
            }
        }
        let mut path = String::new();
        for (row, mut crossings) in crossings.into_iter().enumerate() {
            let Some((left, right)) = span(middle(row)) else { continue };
            crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut inside = match crossings.first() {
                Some((_, change)) => i32::from(*change < 0),
                None => i32::from(is_inside((0.5 * (left + right), middle(row)))),
            };
            let mut from = left;
            for (x, change) in crossings.into_iter().chain([(right, 0)]) {
                let to = x.clamp(left, right);
                if inside > 0 && to - from > 0.05 {
                    // A little higher than the row, so that no seam shows.
                    let (y, width) = (top + row as f64 * ROW, to - from);
                    let _ = write!(path, "M{from:.1} {y:.1}h{width:.1}v{:.1}h-{width:.1}z", ROW + 0.1);
                }
                (from, inside) = (to, inside + change);
            }
        }
        if !path.is_empty() {
            let _ = writeln!(self.svg, "<path d=\"{path}\" fill=\"{colour}\" shape-rendering=\"crispEdges\"/>");
        }
    }
}
