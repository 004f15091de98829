//! Converts SVG to PNG.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use shared::{Context, Error, Result};

/// Noto Sans under the SIL Open Font License, from the crate `notosans`.
fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
        fonts.load_font_data(notosans::BOLD_TTF.to_vec());
        fonts.set_sans_serif_family("Noto Sans");
        Arc::new(fonts)
    };
    Arc::clone(FONTS.get_or_init(load))
}

/// A drawing as PNG, one pixel per unit, on white.
///
/// # Errors
/// Permanent, when the text is not SVG or its size exceeds memory.
pub fn png(svg: &str) -> Result<Vec<u8>> {
    let options = Options { fontdb: fonts(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).permanent("plot")?;
    let size = tree.size().to_int_size();
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| Error::permanent("plot: expected a size"))?;
    pixels.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.width(), size.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    // On white, every pixel is opaque.
    let (pixels, _) = pixels.data().as_chunks::<4>();
    let colours: Vec<u8> = pixels.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
    let mut writer = encoder.write_header().permanent("plot")?;
    writer.write_image_data(&colours).permanent("plot")?;
    writer.finish().permanent("plot")?;
    Ok(bytes)
}
