//! Draws a drawing as PNG.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::FixedState;
use shared::{Context, Error, Result};
use tiny_skia::{
    Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke as Pen, StrokeDash, Transform,
};

use super::lettering;
use super::paper::{Colour, Drawing, DrawnShape, Geometry, Stroke};

/// Number of colours of an indexed picture (PNG specification, section 11.2.2).
const COLOURS: usize = 256;

impl Drawing {
    /// The drawing as PNG, one pixel per unit, on white. Where edges mix more than 256 colours, the rarest are drawn in
    /// the nearest of the others.
    ///
    /// # Errors
    /// Permanent, when the size exceeds memory.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.size.0 as u32, self.size.1 as u32);
        let mut upper = Pixels::new(width, 0..height / 2)?;
        let mut lower = Pixels::new(width, height / 2..height)?;
        rayon::join(|| upper.draw(&self.shapes), || lower.draw(&self.shapes));
        let (palette, indices) = indexed(&[&upper.pixels, &lower.pixels]);
        drop((upper, lower));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette);
        // Few rows differ much from the one above, and what is equal costs nothing.
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Up);
        let mut writer = encoder.write_header().permanent("plot")?;
        writer.write_image_data(&indices).permanent("plot")?;
        writer.finish().permanent("plot")?;
        Ok(bytes)
    }
}

/// Rows of the picture.
struct Pixels {
    pixels: Pixmap,
    rows: Range<u32>,
}

impl Pixels {
    fn new(width: u32, rows: Range<u32>) -> Result<Self> {
        let pixels = Pixmap::new(width, rows.end - rows.start);
        let mut pixels = pixels.ok_or_else(|| Error::permanent("plot: expected a size"))?;
        pixels.fill(Color::WHITE);
        Ok(Pixels { pixels, rows })
    }

    fn draw(&mut self, shapes: &[DrawnShape]) {
        for shape in shapes {
            self.draw_shape(shape);
        }
    }

    /// Draws a shape; one outside the rows, or without extent, is not seen.
    fn draw_shape(&mut self, DrawnShape { form, fill, stroke }: &DrawnShape) {
        let Some(path) = path_of(form) else { return };
        let margin = stroke.map_or(0.0, |stroke| stroke.width as f32) + 1.0;
        let (top, bottom) = (path.bounds().top() - margin, path.bounds().bottom() + margin);
        if bottom < self.rows.start as f32 || top > self.rows.end as f32 {
            return;
        }
        let Pixels { pixels, rows } = self;
        let at = Transform::from_translate(0.0, -(rows.start as f32));
        let fill = |pixels: &mut Pixmap| {
            if let Some(colour) = fill {
                pixels.fill_path(&path, &paint(*colour), FillRule::Winding, at, None);
            }
        };
        let is_text = matches!(form, Geometry::Text { .. });
        if !is_text {
            fill(pixels);
        }
        if let Some(Stroke { colour, width, dashes }) = stroke {
            let dash = if dashes.is_empty() { None } else { StrokeDash::new(dashes.to_vec(), 0.0) };
            let pen = Pen { width: *width as f32, line_join: LineJoin::Round, dash, ..Pen::default() };
            pixels.stroke_path(&path, &paint(*colour), &pen, at, None);
        }
        if is_text {
            fill(pixels);
        }
    }
}

fn paint(Colour(rgb): Colour) -> Paint<'static> {
    let [_, red, green, blue] = rgb.to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn path_of(form: &Geometry) -> Option<Path> {
    let mut path = PathBuilder::new();
    match form {
        Geometry::Lines(lines) | Geometry::Polygons(lines) => {
            for line in lines {
                for (i, (x, y)) in line.iter().enumerate() {
                    let (x, y) = (*x as f32, *y as f32);
                    if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
                }
                if matches!(form, Geometry::Polygons(_)) {
                    path.close();
                }
            }
        }
        Geometry::Rectangle((x, y), (width, height)) => {
            path.push_rect(Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32)?);
        }
        Geometry::Ellipse((x, y), (rx, ry)) => {
            let (left, top) = (x - rx, y - ry);
            path.push_oval(Rect::from_xywh(left as f32, top as f32, 2.0 * *rx as f32, 2.0 * *ry as f32)?);
        }
        Geometry::Text { at, size, anchor, bold, text } => {
            lettering::write(&mut path, *at, *size, *anchor, *bold, text)
        }
    }
    path.finish()
}

/// The colours as a palette, the most frequent first, and each pixel's place in it. On white, every pixel is opaque.
fn indexed(parts: &[&Pixmap]) -> (Vec<u8>, Vec<u8>) {
    let parts: Vec<_> = parts.iter().map(|pixels| pixels.data().as_chunks::<4>().0).collect();
    let runs = || {
        let runs = parts.iter().flat_map(|pixels| pixels.chunk_by(|a, b| a == b));
        runs.map(|run| (u32::from_be_bytes(run[0]), run.len()))
    };
    // The picture is our own, so no hash needs to withstand an attack.
    let mut counts: HashMap<u32, usize, FixedState> = HashMap::default();
    for (colour, count) in runs() {
        *counts.entry(colour).or_default() += count;
    }
    let mut colours: Vec<(u32, usize)> = counts.into_iter().collect();
    colours.sort_unstable_by_key(|(colour, count)| (Reverse(*count), *colour));
    let kept: Vec<[u8; 4]> = colours.iter().take(COLOURS).map(|(colour, _)| colour.to_be_bytes()).collect();
    let place = |i: usize, colour: u32| if i < kept.len() { i as u8 } else { nearest(&kept, colour.to_be_bytes()) };
    let places: HashMap<u32, u8, FixedState> =
        colours.iter().enumerate().map(|(i, (colour, _))| (*colour, place(i, *colour))).collect();
    let mut indices = Vec::with_capacity(parts.iter().map(|pixels| pixels.len()).sum());
    for (colour, count) in runs() {
        let place = places.get(&colour).copied().unwrap_or_default();
        indices.resize(indices.len() + count, place);
    }
    (kept.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect(), indices)
}

/// The place of the most similar of at most [`COLOURS`] colours, the first of those that are equally similar.
fn nearest(colours: &[[u8; 4]], wanted: [u8; 4]) -> u8 {
    let difference = |colour: &[u8; 4]| -> u32 {
        colour.iter().zip(wanted).map(|(a, b)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b))).sum()
    };
    // In one number with its place, a difference takes no branch.
    let placed = (0..).zip(colours).map(|(place, colour): (u32, _)| difference(colour) << 8 | place);
    placed.min().unwrap_or_default() as u8 // the place, the lowest 8 bits
}

#[cfg(test)]
mod tests {
    use super::super::paper::Anchor;
    use super::super::{BLACK, BLUE};
    use super::*;

    fn pixel(pixels: &Pixmap, x: u32, y: u32) -> [u8; 3] {
        let pixel = pixels.pixel(x, y).expect("inside");
        [pixel.red(), pixel.green(), pixel.blue()]
    }

    fn drawn(draw_on: impl FnOnce(&mut Drawing)) -> (Pixmap, Vec<u8>) {
        let mut drawing = Drawing::new((80.0, 40.0));
        draw_on(&mut drawing);
        let bytes = drawing.png().expect("a picture");
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes));
        reader.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
        let mut reader = reader.read_info().expect("a PNG");
        let mut pixels = Pixmap::new(80, 40).expect("a size");
        reader.next_frame(pixels.data_mut()).expect("the pixels");
        (pixels, bytes)
    }

    #[test]
    fn shapes_have_their_colours_and_places() {
        let (pixels, bytes) = drawn(|drawing| {
            let stroke = Stroke { colour: BLACK, width: 2.0, dashes: &[] };
            drawing.rectangle((10.0, 10.0), (20.0, 20.0), Some(BLUE), stroke);
            drawing.line(&[vec![(40.0, 20.0), (80.0, 20.0)]], BLACK, 4.0, &[10.0, 10.0]);
            // Outside, and without extent.
            drawing.circle((500.0, 500.0), 3.0, stroke);
            drawing.circle((5.0, 5.0), 0.0, stroke);
        });
        let (white, black, blue) = ([255; 3], [0; 3], [0, 0x72, 0xB2]);
        for (x, y, expected) in
            [(0, 0, white), (20, 20, blue), (20, 10, black), (20, 8, white), (45, 20, black), (55, 20, white)]
        {
            assert_eq!(pixel(&pixels, x, y), expected, "{x}, {y}");
        }
        assert!(bytes.len() < 600, "{} bytes", bytes.len());
    }

    #[test]
    fn two_halves_are_the_whole() {
        let mut drawing = Drawing::new((80.0, 40.0));
        let stroke = Stroke { colour: BLACK, width: 3.0, dashes: &[] };
        drawing.rectangle((10.0, 10.3), (20.0, 9.4), Some(BLUE), stroke);
        drawing.line(&[vec![(3.0, 2.0), (70.0, 37.0), (75.0, 1.0)]], BLUE, 2.5, &[7.0, 3.0]);
        drawing.circle((50.0, 20.2), 8.6, stroke);
        drawing.label(30.0, 27.0, 24.0, Anchor::Start, BLACK, "Sg");
        let drawn = |rows: Range<u32>| {
            let mut pixels = Pixels::new(80, rows).expect("a size");
            pixels.draw(&drawing.shapes);
            pixels.pixels.data().to_vec()
        };
        let (whole, halves) = (drawn(0..40), [drawn(0..20), drawn(20..40)].concat());
        // Edges are mixed in steps of 1/16 and more.
        let apart = whole.iter().zip(&halves).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(whole.len() == halves.len() && apart.is_some_and(|apart| apart <= 16), "{apart:?}");
    }

    #[test]
    fn texts_end_and_begin_where_their_anchor_says() {
        let inked = |anchor: Anchor| {
            let (pixels, _) = drawn(|drawing| drawing.text(40.0, 30.0, 20.0, anchor, BLACK, "HH"));
            let columns = (0..80).filter(|x| (0..40).any(|y| pixel(&pixels, *x, y)[0] < 128));
            let columns: Vec<u32> = columns.collect();
            (*columns.first().expect("ink"), *columns.last().expect("ink"))
        };
        let (start, middle, end) = (inked(Anchor::Start), inked(Anchor::Middle), inked(Anchor::End));
        assert!((40..44).contains(&start.0) && (60..75).contains(&start.1), "{start:?}");
        assert!((36..40).contains(&end.1) && end.0 < 20, "{end:?}");
        assert!((i64::from(middle.0 + middle.1) / 2 - 40).abs() <= 1, "{middle:?}");
    }

    #[test]
    fn halo_lies_below_its_text() {
        let (pixels, _) = drawn(|drawing| {
            drawing.line(&[vec![(0.0, 20.0), (80.0, 20.0)]], BLUE, 40.0, &[]);
            drawing.label(10.0, 30.0, 24.0, Anchor::Start, BLACK, "I");
        });
        let row: Vec<[u8; 3]> = (0..80).map(|x| pixel(&pixels, x, 22)).collect();
        let place = |colour: [u8; 3]| row.iter().position(|pixel| *pixel == colour);
        let (white, black) = (place([255; 3]).expect("a halo"), place([0; 3]).expect("a text"));
        assert!(white < black && row[79] == [0, 0x72, 0xB2], "{row:?}");
    }

    #[test]
    fn rare_colours_become_the_nearest() {
        // Every second grey often; and 510 colours next to a grey, each once.
        let greys = (0..128).flat_map(|i| vec![[2 * i; 3]; 3]);
        let (bluish, greenish) = ((0..255).map(|i| [i, i, i + 1]), (0..255).map(|i| [i, i + 1, i]));
        let colours: Vec<[u8; 3]> = greys.chain(bluish).chain(greenish).collect();
        let mut pixels = Pixmap::new(colours.len() as u32, 1).expect("a size");
        for (pixel, [red, green, blue]) in pixels.data_mut().as_chunks_mut::<4>().0.iter_mut().zip(&colours) {
            *pixel = [*red, *green, *blue, 255];
        }
        let (palette, indices) = indexed(&[&pixels]);
        assert_eq!((palette.len(), indices.len()), (3 * COLOURS, colours.len()));
        for (place, colour) in indices.iter().zip(&colours) {
            let found = &palette[3 * usize::from(*place)..][..3];
            assert!(found.iter().zip(colour).all(|(a, b)| a.abs_diff(*b) <= 2), "{found:?}, not {colour:?}");
        }
    }
}
