//! SVG, written piece by piece.

use std::fmt::Write;

use super::projection::Point;
use crate::text::escaped;

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

    /// Fills areas, each place by what `colour_of` says of it: rows of rectangles of a height of `step`.
    pub(super) fn areas<'c>(
        &mut self,
        (left, top): Point,
        (width, height): Point,
        step: f64,
        colour_of: impl Fn(Point) -> Option<&'c str>,
    ) {
        let mut paths: Vec<(&str, String)> = Vec::new();
        let (rows, columns) = ((height / step) as usize, (width / step) as usize);
        for row in 0..rows {
            let y = top + row as f64 * step;
            let mut begun: Option<(usize, &str)> = None;
            for column in 0..=columns {
                let middle = (left + (column as f64 + 0.5) * step, y + 0.5 * step);
                let colour = if column < columns { colour_of(middle) } else { None };
                if begun.map(|(_, colour)| colour) == colour {
                    continue;
                }
                if let Some((from, colour)) = begun.take() {
                    let at = paths.iter().position(|(other, _)| *other == colour).unwrap_or_else(|| {
                        paths.push((colour, String::new()));
                        paths.len() - 1
                    });
                    let (x, width) = (left + from as f64 * step, (column - from) as f64 * step);
                    // A little higher than the row, so that no seam shows.
                    let _ = write!(paths[at].1, "M{x:.1} {y:.1}h{width:.1}v{:.1}h-{width:.1}z", step + 0.1);
                }
                begun = colour.map(|colour| (column, colour));
            }
        }
        for (colour, path) in paths {
            let _ = writeln!(self.svg, "<path d=\"{path}\" fill=\"{colour}\" shape-rendering=\"crispEdges\"/>");
        }
    }
}
