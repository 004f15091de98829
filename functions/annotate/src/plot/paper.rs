//! Collects a drawing: shapes in the order in which they are drawn. [`super::svg`] and [`super::raster`] write them.

use super::outline::filled_outlines;
use super::projection::Point;

/// A colour, `0xRRGGBB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u32);

/// Alignment of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line around or along a shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    pub(super) colour: Colour,
    pub(super) width: f64,
    /// Lengths of dashes and gaps; empty for a solid line.
    pub(super) dashes: &'static [f32],
}

/// The geometry of a shape.
#[derive(Debug)]
pub(super) enum Geometry {
    /// Open lines.
    Lines(Vec<Vec<Point>>),
    /// Polygons that do not overlap, each closed by a line from its last point to its first.
    Polygons(Vec<Vec<Point>>),
    /// Corner at the upper left, and size.
    Rectangle(Point, Point),
    /// Centre and radii.
    Ellipse(Point, Point),
    Text {
        at: Point,
        size: f64,
        anchor: Anchor,
        bold: bool,
        text: String,
    },
}

/// A shape; its stroke lies over its fill, under that of a text.
#[derive(Debug)]
pub(super) struct DrawnShape {
    pub(super) form: Geometry,
    pub(super) fill: Option<Colour>,
    pub(super) stroke: Option<Stroke>,
}

/// A drawing on white.
#[derive(Debug)]
pub struct Drawing {
    /// Width and height.
    pub(super) size: (f64, f64),
    pub(super) shapes: Vec<DrawnShape>,
}

impl Drawing {
    pub(super) fn new(size: (f64, f64)) -> Self {
        Drawing { size, shapes: Vec::new() }
    }

    fn add(&mut self, form: Geometry, fill: Option<Colour>, stroke: Option<Stroke>) {
        self.shapes.push(DrawnShape { form, fill, stroke });
    }

    fn add_text(&mut self, at: Point, size: f64, anchor: Anchor, bold: bool, text: &str) -> Option<&mut DrawnShape> {
        if text.is_empty() {
            return None;
        }
        self.add(Geometry::Text { at, size, anchor, bold, text: text.to_owned() }, None, None);
        self.shapes.last_mut()
    }

    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: Colour, text: &str) {
        if let Some(shape) = self.add_text((x, y), size, anchor, false, text) {
            shape.fill = Some(colour);
        }
    }

    pub(super) fn bold(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: Colour, text: &str) {
        if let Some(shape) = self.add_text((x, y), size, anchor, true, text) {
            shape.fill = Some(colour);
        }
    }

    /// A text with a white outline, readable over lines.
    pub(super) fn label(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, colour: Colour, text: &str) {
        if let Some(shape) = self.add_text((x, y), size, anchor, false, text) {
            shape.fill = Some(colour);
            shape.stroke = Some(Stroke { colour: super::WHITE, width: 5.0, dashes: &[] });
        }
    }

    /// A text that shrinks, and is then truncated, to fit a width.
    pub(super) fn fitted(&mut self, x: f64, y: f64, size: f64, width: f64, colour: Colour, text: &str) {
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

    /// Polylines, without the points that nobody sees.
    pub(super) fn line(&mut self, lines: &[Vec<Point>], colour: Colour, width: f64, dashes: &'static [f32]) {
        let lines: Vec<_> = lines.iter().filter(|line| line.len() > 1).map(|line| simplified(line)).collect();
        if !lines.is_empty() {
            self.add(Geometry::Lines(lines), None, Some(Stroke { colour, width, dashes }));
        }
    }

    pub(super) fn rectangle(&mut self, corner: Point, size: Point, fill: Option<Colour>, stroke: Stroke) {
        self.add(Geometry::Rectangle(corner, size), fill, Some(stroke));
    }

    pub(super) fn circle(&mut self, centre: Point, radius: f64, stroke: Stroke) {
        self.ellipse(centre, (radius, radius), stroke);
    }

    pub(super) fn plus(&mut self, (x, y): Point, arm: f64, colour: Colour) {
        self.line(&[vec![(x - arm, y), (x + arm, y)], vec![(x, y - arm), (x, y + arm)]], colour, 3.0, &[]);
    }

    pub(super) fn ellipse(&mut self, centre: Point, radii: Point, stroke: Stroke) {
        self.add(Geometry::Ellipse(centre, radii), None, Some(stroke));
    }

    /// Fills the area to the right of closed lines; see [`filled_outlines`].
    pub(super) fn fill(
        &mut self,
        rows: (f64, f64),
        centre: f64,
        span: impl Fn(f64) -> Option<(f64, f64)>,
        lines: &[Vec<Point>],
        colour: Colour,
        whole: bool,
    ) {
        let polygons = filled_outlines(rows, centre, span, lines, whole);
        if !polygons.is_empty() {
            self.add(Geometry::Polygons(polygons), Some(colour), None);
        }
    }
}

/// Distance from a line below which a point of it is not seen.
const TOLERANCE: f64 = 0.15;

/// A line without the points that lie within [`TOLERANCE`] of the chord between those that stay (Douglas and Peucker
/// 1973, doi:10.3138/FM57-6770-U75U-7727).
pub(super) fn simplified(line: &[Point]) -> Vec<Point> {
    let Some(last) = line.len().checked_sub(1) else { return Vec::new() };
    let mut kept = vec![false; line.len()];
    (kept[0], kept[last]) = (true, true);
    let mut open = vec![(0, last)];
    while let Some((from, to)) = open.pop() {
        let farthest = (from + 1..to)
            .map(|i| (i, distance_squared(line[i], line[from], line[to])))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((i, distance)) = farthest
            && distance > TOLERANCE * TOLERANCE
        {
            kept[i] = true;
            open.extend([(from, i), (i, to)]);
        }
    }
    line.iter().zip(kept).filter_map(|(point, kept)| kept.then_some(*point)).collect()
}

/// The squared distance of a point from a segment.
fn distance_squared((x, y): Point, from: Point, to: Point) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length_squared = dx * dx + dy * dy;
    let part = if length_squared > 0.0 {
        (((x - from.0) * dx + (y - from.1) * dy) / length_squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (x - from.0 - part * dx).powi(2) + (y - from.1 - part * dy).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simplified_lines_stay_within_the_tolerance() {
        let circle: Vec<Point> = (0..=1000)
            .map(|i| (f64::from(i) * 0.36).to_radians().sin_cos())
            .map(|(sin, cos)| (50.0 * cos, 50.0 * sin))
            .collect();
        let few = simplified(&circle);
        // A chord of a circle of radius r over an angle a is at most r (1 − cos a/2) away.
        assert!((40..80).contains(&few.len()), "{}", few.len());
        assert_eq!((few.first(), few.last()), (circle.first(), circle.last()));
        for point in &circle {
            let nearest = few.windows(2).map(|ends| distance_squared(*point, ends[0], ends[1])).fold(9.0, f64::min);
            assert!(nearest.sqrt() <= TOLERANCE + 1e-9, "{point:?}: {}", nearest.sqrt());
        }
        assert_eq!(simplified(&[(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)]), [(0.0, 0.0), (2.0, 0.0)]);
        assert_eq!(simplified(&[(1.0, 1.0)]), [(1.0, 1.0)]);
        assert!(simplified(&[]).is_empty());
    }
}
