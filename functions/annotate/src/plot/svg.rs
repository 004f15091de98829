//! Writes a drawing as SVG.

use std::fmt::Write;

use super::paper::{Anchor, Colour, Drawing, DrawnShape, Geometry, Stroke};
use super::projection::Point;
use crate::text::escaped;

impl Drawing {
    /// The drawing as SVG, with coordinates of a tenth of a unit.
    pub fn svg(&self) -> String {
        let (width, height) = self.size;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"'Noto Sans', sans-serif\" stroke-linejoin=\"round\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        self.shapes.iter().for_each(|shape| write_shape(&mut svg, shape));
        svg.push_str("</svg>\n");
        svg
    }
}

/// Writing to a string cannot fail, so results are ignored.
fn write_shape(svg: &mut String, DrawnShape { form, fill, stroke }: &DrawnShape) {
    match form {
        Geometry::Lines(lines) | Geometry::Polygons(lines) => {
            svg.push_str("<path d=\"");
            for line in lines {
                write_points(svg, line);
                if matches!(form, Geometry::Polygons(_)) {
                    svg.push('z');
                }
            }
            svg.push('"');
        }
        Geometry::Rectangle((x, y), (width, height)) => {
            let _ = write!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        }
        Geometry::Ellipse((x, y), (rx, ry)) => {
            let _ = write!(svg, "<ellipse cx=\"{x:.1}\" cy=\"{y:.1}\" rx=\"{rx:.1}\" ry=\"{ry:.1}\"");
        }
        Geometry::Text { at: (x, y), size, anchor, bold, .. } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if *bold { " font-weight=\"bold\"" } else { "" };
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\"{anchor}{weight}");
        }
    }
    match fill {
        Some(Colour(rgb)) => drop(write!(svg, " fill=\"#{rgb:06X}\"")),
        None => svg.push_str(" fill=\"none\""),
    }
    if let Some(Stroke { colour: Colour(rgb), width, dashes }) = stroke {
        let _ = write!(svg, " stroke=\"#{rgb:06X}\" stroke-width=\"{width}\"");
        if !dashes.is_empty() {
            let dashes: Vec<String> = dashes.iter().map(f32::to_string).collect();
            let _ = write!(svg, " stroke-dasharray=\"{}\"", dashes.join(" "));
        }
    }
    match form {
        Geometry::Text { text, .. } => {
            let order = if stroke.is_some() { " paint-order=\"stroke\"" } else { "" };
            let _ = writeln!(svg, "{order}>{}</text>", escaped(text));
        }
        _ => svg.push_str("/>\n"),
    }
}

/// The commands of a line: the first point, and the steps from point to point.
fn write_points(svg: &mut String, line: &[Point]) {
    let tenths = |(x, y): &Point| ((10.0 * x).round() as i64, (10.0 * y).round() as i64);
    let Some(first) = line.first().map(tenths) else { return };
    svg.push('M');
    write_tenths(svg, first.0, false);
    write_tenths(svg, first.1, true);
    let (mut at, mut begun) = (first, false);
    for (i, point) in line.iter().enumerate().skip(1) {
        let next = tenths(point);
        // A line that is shorter than a tenth stays a line.
        if next == at && (begun || i + 1 < line.len()) {
            continue;
        }
        if !begun {
            svg.push('l');
        }
        write_tenths(svg, next.0 - at.0, begun);
        write_tenths(svg, next.1 - at.1, true);
        (at, begun) = (next, true);
    }
}

/// A number of tenths, shortest: `-.3`, `12`, `4.5`; with a space before it where two numbers would be read as one.
fn write_tenths(svg: &mut String, tenths: i64, follows: bool) {
    if tenths < 0 {
        svg.push('-');
    } else if follows {
        svg.push(' ');
    }
    let (whole, tenth) = (tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10);
    if whole > 0 || tenth == 0 {
        let _ = write!(svg, "{whole}");
    }
    if tenth > 0 {
        let _ = write!(svg, ".{tenth}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::BLACK;
    use super::*;

    fn path(line: &[Point]) -> String {
        let mut svg = String::new();
        write_points(&mut svg, line);
        svg
    }

    #[test]
    fn points_are_written_as_short_steps_that_do_not_drift() {
        assert_eq!(path(&[(10.04, -0.26), (10.0, 0.0), (9.66, 12.0), (9.66, 12.01)]), "M10-.3l0 .3-.3 12");
        // The shortest line is still one.
        assert_eq!(path(&[(1.0, 1.0), (1.01, 1.0)]), "M1 1l0 0");
        let line: Vec<Point> = (0..1000).map(|i| (0.123 * f64::from(i), 0.0)).collect();
        let steps: f64 = path(&line)
            .split(['M', 'l', ' '])
            .filter(|text| !text.is_empty())
            .map(|text| text.parse::<f64>().expect("a number"))
            .sum();
        assert!((steps - 122.9).abs() < 1e-6, "{steps}");
    }

    #[test]
    fn texts_are_escaped_and_halos_lie_below() {
        let mut drawing = Drawing::new((10.0, 10.0));
        drawing.label(1.0, 2.0, 3.0, Anchor::End, BLACK, "<&>");
        let svg = drawing.svg();
        assert!(svg.contains("text-anchor=\"end\" fill=\"#000000\" stroke=\"#FFFFFF\""), "{svg}");
        assert!(svg.contains("paint-order=\"stroke\">&lt;&amp;&gt;</text>"), "{svg}");
    }
}
