//! Outlines of texts, in Noto Sans under the SIL Open Font License, from the crate `notosans`.

use std::sync::OnceLock;

use harfrust::{ShapeOptions, ShaperData, UnicodeBuffer};
use skrifa::MetadataProvider;
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::prelude::{FontRef, GlyphId, LocationRef, Size};
use tiny_skia::PathBuilder;

use super::paper::Anchor;
use super::projection::Point;

/// A font, and its tables for placing letters, which are read once.
struct Typeface {
    font: FontRef<'static>,
    shaping: ShaperData,
}

/// The regular and the bold face; `None` for one that cannot be read.
fn faces() -> &'static [Option<Typeface>; 2] {
    static FACES: OnceLock<[Option<Typeface>; 2]> = OnceLock::new();
    FACES.get_or_init(|| {
        [notosans::REGULAR_TTF, notosans::BOLD_TTF].map(|bytes| {
            let font = FontRef::new(bytes).ok()?;
            Some(Typeface { shaping: ShaperData::new(&font), font })
        })
    })
}

/// Adds the outlines of a text to a path.
pub(super) fn write(path: &mut PathBuilder, at: Point, size: f64, anchor: Anchor, bold: bool, text: &str) {
    let Some(Typeface { font, shaping }) = &faces()[usize::from(bold)] else { return };
    let shaper = shaping.shaper(font).build();
    let mut buffer = UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    let shaped = shaper.shape(buffer, ShapeOptions::new());
    let scale = size as f32 / shaper.units_per_em() as f32;
    let width: f32 = shaped.glyph_positions().iter().map(|glyph| glyph.x_advance as f32 * scale).sum();
    let mut x = at.0 as f32
        - match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => 0.5 * width,
            Anchor::End => width,
        };
    let outlines = font.outline_glyphs();
    for (glyph, place) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
        if let Some(outline) = outlines.get(GlyphId::new(glyph.glyph_id)) {
            let (dx, dy) = (place.x_offset as f32 * scale, place.y_offset as f32 * scale);
            let mut pen = Pen { path, x: x + dx, y: at.1 as f32 - dy };
            // A letter that cannot be read is left out.
            let _ = outline.draw(DrawSettings::unhinted(Size::new(size as f32), LocationRef::default()), &mut pen);
        }
        x += place.x_advance as f32 * scale;
    }
}

/// Draws a letter, whose y points up, from its origin on paper.
struct Pen<'a> {
    path: &'a mut PathBuilder,
    x: f32,
    y: f32,
}

impl OutlinePen for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.x + x, self.y - y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.x + x, self.y - y);
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.path.quad_to(self.x + cx, self.y - cy, self.x + x, self.y - y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        let (left, base) = (self.x, self.y);
        self.path.cubic_to(left + cx0, base - cy0, left + cx1, base - cy1, left + x, base - y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
