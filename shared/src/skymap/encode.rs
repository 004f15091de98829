//! Writing a multi-order map as FITS, as LIGO/Virgo/KAGRA alerts carry it.
//!
//! FITS Standard 4.0 (Pence et al. 2010, doi:10.1051/0004-6361/201015362): blocks of 2,880 bytes, cards of 80
//! characters, big-endian binary tables.

use jiff::Timestamp;

use super::{Header, MultiOrderMap};
use crate::{Error, Result};

/// FITS files are written in blocks of this size [bytes].
pub(super) const BLOCK: usize = 2880; // FITS Standard 4.0, section 3.1
/// A header is made of cards of this size [bytes].
const CARD: usize = 80; // FITS Standard 4.0, section 3.2

/// The value of a header card.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Real(f64),
    Logical(bool),
}

/// A map as a FITS file: UNIQ, PROBDENSITY and, when it has distances, DISTMU, DISTSIGMA and DISTNORM, rows in the
/// map's order, and everything that its header says.
///
/// # Errors
/// Permanent, when the header holds a text or a number that FITS cannot.
pub fn encode(map: &MultiOrderMap) -> Result<Vec<u8>> {
    let (cells, distances) = (map.cells(), map.distances());
    let integer = |value: usize| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let text = |value: &str| Value::Text(value.to_owned());
    let mut columns = vec![("UNIQ", "K", ""), ("PROBDENSITY", "D", "sr-1")];
    if distances.is_some() {
        columns.extend([("DISTMU", "D", "Mpc"), ("DISTSIGMA", "D", "Mpc"), ("DISTNORM", "D", "Mpc-2")]);
    }
    let row_bytes = 8 * columns.len();
    let mut out = Vec::with_capacity(4 * BLOCK + cells.len() * row_bytes);
    put(&mut out, "SIMPLE", &Value::Logical(true), "conforms to FITS standard")?;
    put(&mut out, "BITPIX", &Value::Integer(8), "array data type")?;
    put(&mut out, "NAXIS", &Value::Integer(0), "number of array dimensions")?;
    put(&mut out, "EXTEND", &Value::Logical(true), "")?;
    end(&mut out);
    put(&mut out, "XTENSION", &text("BINTABLE"), "binary table extension")?;
    put(&mut out, "BITPIX", &Value::Integer(8), "array data type")?;
    put(&mut out, "NAXIS", &Value::Integer(2), "number of array dimensions")?;
    put(&mut out, "NAXIS1", &integer(row_bytes), "length of dimension 1")?;
    put(&mut out, "NAXIS2", &integer(cells.len()), "length of dimension 2")?;
    put(&mut out, "PCOUNT", &Value::Integer(0), "number of group parameters")?;
    put(&mut out, "GCOUNT", &Value::Integer(1), "number of groups")?;
    put(&mut out, "TFIELDS", &integer(columns.len()), "number of table fields")?;
    for (i, (name, form, unit)) in (1..).zip(&columns) {
        put(&mut out, &format!("TTYPE{i}"), &text(name), "")?;
        put(&mut out, &format!("TFORM{i}"), &text(form), "")?;
        if !unit.is_empty() {
            put(&mut out, &format!("TUNIT{i}"), &text(unit), "")?;
        }
    }
    put(&mut out, "PIXTYPE", &text("HEALPIX"), "HEALPIX pixelisation")?;
    put(&mut out, "ORDERING", &text("NUNIQ"), "Pixel ordering scheme: RING, NESTED, or NUNIQ")?;
    put(&mut out, "COORDSYS", &text("C"), "Ecliptic, Galactic or Celestial (equatorial)")?;
    put(&mut out, "MOCORDER", &Value::Integer(map.order().into()), "MOC resolution (best order)")?;
    put(&mut out, "INDXSCHM", &text("EXPLICIT"), "Indexing: IMPLICIT or EXPLICIT")?;
    for (key, value, comment) in known(map.header()) {
        put(&mut out, key, &value, comment)?;
    }
    end(&mut out);
    for (i, cell) in cells.iter().enumerate() {
        out.extend(cell.uniq().to_be_bytes());
        out.extend(cell.prob_density.to_be_bytes());
        if let Some(distance) = distances.and_then(|distances| distances.get(i)) {
            for value in [distance.mu, distance.sigma, distance.norm] {
                out.extend(value.to_be_bytes());
            }
        }
    }
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(out)
}

/// The cards for what a header says.
pub(super) fn known(header: &Header) -> Vec<(&'static str, Value, &'static str)> {
    const UNIX_EPOCH_MJD: f64 = 40_587.0; // 1970-01-01 as a modified Julian date
    let text = |value: &Option<String>| value.clone().map(Value::Text);
    let time = |time: Timestamp| Value::Text(time.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string());
    let mjd = |time: Timestamp| Value::Real(UNIX_EPOCH_MJD + time.as_microsecond() as f64 / 1e6 / 86_400.0);
    let instruments = (!header.instruments.is_empty()).then(|| Value::Text(header.instruments.join(",")));
    [
        ("OBJECT", text(&header.object), "Unique identifier for this event"),
        ("INSTRUME", instruments, "Instruments that triggered this event"),
        ("DATE-OBS", header.date_obs.map(time), "UTC date of the observation"),
        ("MJD-OBS", header.date_obs.map(mjd), "modified Julian date of the observation"),
        ("DATE", header.date.map(time), "UTC date of file creation"),
        ("CREATOR", text(&header.creator), "Program that created this file"),
        ("DISTMEAN", header.dist_mean.map(Value::Real), "Posterior mean distance (Mpc)"),
        ("DISTSTD", header.dist_std.map(Value::Real), "Posterior standard deviation of distance (Mpc)"),
        ("LOGBCI", header.log_bci.map(Value::Real), "Log Bayes factor: coherent vs. incoherent"),
        ("LOGBSN", header.log_bsn.map(Value::Real), "Log Bayes factor: signal vs. noise"),
    ]
    .into_iter()
    .filter_map(|(key, value, comment)| Some((key, value?, comment)))
    .collect()
}

/// Ends a header and fills its block with blanks.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend(b"END");
    out.resize(out.len().next_multiple_of(BLOCK), b' ');
}

/// One card: the value right-aligned to column 30, strings quoted from column 11, then the comment as far as it fits.
pub(super) fn put(out: &mut Vec<u8>, key: &str, value: &Value, comment: &str) -> Result<()> {
    let shown = match value {
        Value::Text(text) => format!("{:<20}", format!("'{:<8}'", text.replace('\'', "''"))),
        Value::Integer(number) => format!("{number:>20}"),
        Value::Real(number) => {
            let plain = format!("{number:?}").to_uppercase();
            format!("{plain:>20}")
        }
        Value::Logical(truth) => format!("{:>20}", if *truth { "T" } else { "F" }),
    };
    let mut card = format!("{key:<8}= {shown}");
    let finite = !matches!(value, Value::Real(number) if !number.is_finite());
    let printable = card.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if key.len() > 8 || !finite || !printable || card.len() > CARD {
        return Err(Error::permanent(format!(
            "FITS card `{key}`: expected a finite number or printable ASCII within {CARD} columns, found `{}`",
            card.chars().take(CARD).collect::<String>().escape_default()
        )));
    }
    if !comment.is_empty() {
        card.push_str(" / ");
        card.push_str(comment);
    }
    card.truncate(CARD);
    out.extend(format!("{card:<CARD$}").bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fits::Table;
    use crate::skymap::{Cell, Distance};

    /// Twelve cells of order 0, the last split in four, in no order.
    fn map(with_distances: bool, header: Header) -> MultiOrderMap {
        let density = 1.0 / (4.0 * std::f64::consts::PI);
        let cell = |order: u8, ipix: u64| Cell { order, ipix, prob_density: density };
        let cells: Vec<Cell> = (44..48).map(|i| cell(1, i)).chain((0..11).rev().map(|i| cell(0, i))).collect();
        let distance = |i: usize| match i {
            3 => Distance { mu: f64::INFINITY, sigma: 1.0, norm: 0.0 },
            _ => Distance { mu: -10.0 * i as f64, sigma: 3.5, norm: 1e-4 },
        };
        let distances = with_distances.then(|| (0..cells.len()).map(distance).collect());
        MultiOrderMap::from_cells(cells, distances, header).expect("a map")
    }

    fn header() -> Header {
        Header {
            date_obs: Some("2018-11-01T22:22:46.654437Z".parse().expect("a time")),
            date: Some("2018-11-01T22:34:49Z".parse().expect("a time")),
            creator: Some("o'BAYESTAR".to_owned()),
            instruments: vec!["H1".to_owned(), "L1".to_owned()],
            object: Some("MS181101ab".to_owned()),
            dist_mean: Some(39.769_996_094_890_13),
            dist_std: Some(8.308e-3),
            log_bci: Some(-0.000_358_349_547_933_47),
            log_bsn: Some(261.0),
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        for (with_distances, header) in [(true, header()), (false, header()), (true, Header::default())] {
            let map = map(with_distances, header);
            let bytes = encode(&map).expect("FITS");
            assert_eq!(bytes.len() % BLOCK, 0);
            let back = MultiOrderMap::decode(&bytes).expect("a map");
            assert_eq!(back.cells(), map.cells());
            assert_eq!(back.distances(), map.distances());
            assert_eq!(back.header(), map.header());
        }
    }

    #[test]
    fn the_header_is_that_of_real_maps() {
        let bytes = encode(&map(true, header())).expect("FITS");
        let table = Table::open(&bytes).expect("a table");
        for (key, value) in [
            ("PIXTYPE", "HEALPIX"),
            ("ORDERING", "NUNIQ"),
            ("COORDSYS", "C"),
            ("INDXSCHM", "EXPLICIT"),
            ("DATE-OBS", "2018-11-01T22:22:46.654437"),
            ("TUNIT2", "sr-1"),
            ("TUNIT5", "Mpc-2"),
        ] {
            assert_eq!(table.header_str(key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(table.header_f64("MOCORDER"), Some(1.0));
        // The value in the real MS181101ab map, within a double's last digits.
        assert!((table.header_f64("MJD-OBS").expect("a date") - 58_423.932_484_426_35).abs() < 1e-10);
    }

    #[test]
    fn what_fits_cannot_hold_is_refused() {
        for change in [
            Header { object: Some("x".repeat(100)), ..Header::default() },
            Header { creator: Some("a\nb".to_owned()), ..Header::default() },
            Header { dist_mean: Some(f64::NAN), ..Header::default() },
        ] {
            let error = encode(&map(false, change)).expect_err("a header");
            assert!(error.to_string().starts_with("FITS card `"), "{error}");
        }
    }
}
