//! The plot for a mail: the stored PNG, or the same at half its size.

use shared::{Context, Error, Result};

/// Limit on an attached picture \[bytes\].
pub(super) const MAX_BYTES: usize = 200_000;
/// Limit on the pixels of a stored picture.
const MAX_PIXELS: usize = 4_000_000;

/// The picture if it is at most [`MAX_BYTES`], else at half its width and height; `None` if that is too large as well.
///
/// # Errors
/// Permanent, when it is not a PNG with colours of 8 bits, its own or of a palette, and at most [`MAX_PIXELS`] pixels.
pub(super) fn attachable(picture: &[u8]) -> Result<Option<Vec<u8>>> {
    if picture.len() <= MAX_BYTES {
        return Ok(Some(picture.to_vec()));
    }
    let half = halved(picture)?;
    Ok((half.len() <= MAX_BYTES).then_some(half))
}

/// Each pixel is the mean of four.
fn halved(picture: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(picture));
    // Plots have a palette.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().permanent("plot")?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let (colour, depth) = reader.output_color_type();
    if (colour, depth) != (png::ColorType::Rgb, png::BitDepth::Eight) || width * height > MAX_PIXELS || width < 2 {
        return Err(Error::permanent(format!(
            "plot: expected an RGB picture of 8 bits, of 2 to {MAX_PIXELS} pixels, found {colour:?}, {depth:?}, {width} × {height}"
        )));
    }
    let mut pixels = vec![0; width * height * 3];
    reader.next_frame(&mut pixels).permanent("plot")?;
    let (columns, rows) = (width / 2, height / 2);
    let mut mean = Vec::with_capacity(columns * rows * 3);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..3 {
                let at = |down: usize, right: usize| {
                    u32::from(pixels[((2 * row + down) * width + 2 * column + right) * 3 + channel])
                };
                mean.push(((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1) + 2) / 4) as u8);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header().permanent("plot")?;
    writer.write_image_data(&mean).permanent("plot")?;
    writer.finish().permanent("plot")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose pixel in a column and row has these colours.
    fn picture(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..height)
            .flat_map(|row| (0..width).flat_map(move |column| [(column, row)]))
            .flat_map(|(column, row)| pixel(column, row))
            .collect();
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&pixels).expect("pixels");
        writer.finish().expect("an end");
        bytes
    }

    #[test]
    fn halves_large_pictures_by_the_mean_of_four_pixels() {
        let small = picture(4, 2, |column, row| [10 * column as u8, 100 * row as u8, 7]);
        assert_eq!(attachable(&small).expect("a picture").as_deref(), Some(&small[..]), "small ones stay");
        let half = halved(&small).expect("a picture");
        let mut reader = png::Decoder::new(std::io::Cursor::new(half)).read_info().expect("a header");
        let mut pixels = vec![0; 6];
        reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((reader.info().width, reader.info().height), (2, 1));
        assert_eq!(pixels, [5, 50, 7, 25, 50, 7]);
    }

    #[test]
    fn halves_pictures_with_a_palette() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 4, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(vec![0, 0, 0, 40, 80, 120]);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&[0, 1, 1, 1, 0, 1, 1, 1]).expect("pixels");
        writer.finish().expect("a picture");
        let half = halved(&bytes).expect("half of it");
        let mut reader = png::Decoder::new(std::io::Cursor::new(half)).read_info().expect("a header");
        let mut pixels = vec![0; 6];
        reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!(pixels, [20, 40, 60, 40, 80, 120]);
    }

    #[test]
    fn pictures_that_stay_too_large_are_left_out() {
        // Noise does not compress.
        let noise = |column: usize, row: usize| {
            let mut mix = (column * 1_340 + row) as u64;
            for _ in 0..3 {
                mix = mix.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                mix ^= mix >> 29;
            }
            let mixed = mix.to_le_bytes();
            [mixed[2], mixed[3], mixed[4]]
        };
        let large = picture(1200, 1340, noise);
        assert!(large.len() > 4 * MAX_BYTES);
        assert_eq!(attachable(&large), Ok(None));
        let mut other = vec![0; MAX_BYTES + 1];
        assert!(attachable(&other).is_err(), "no PNG");
        other.truncate(9);
        assert!(attachable(&other).is_ok());
    }
}
