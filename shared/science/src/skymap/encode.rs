//! Encodes a multi-order map as FITS, as in LIGO/Virgo/KAGRA alerts.

use shared::Result;

use super::MultiOrderMap;
use super::cards::{BLOCK, Value, end, known, put, table};

/// A map as a FITS file: UNIQ, PROBDENSITY and, when it has distances, DISTMU, DISTSIGMA and DISTNORM, rows in the
/// map's order, and all fields of its header.
///
/// # Errors
/// Permanent, when the header holds a text or a number that FITS cannot represent.
pub fn encode(map: &MultiOrderMap) -> Result<Vec<u8>> {
    let (cells, distances) = (map.cells(), map.distances());
    let text = |value: &str| Value::Text(value.to_owned());
    let mut columns = vec![("UNIQ", "K", ""), ("PROBDENSITY", "D", "sr-1")];
    if distances.is_some() {
        columns.extend([("DISTMU", "D", "Mpc"), ("DISTSIGMA", "D", "Mpc"), ("DISTNORM", "D", "Mpc-2")]);
    }
    let mut out = table(&columns, cells.len() as u64)?;
    out.reserve(4 * BLOCK + cells.len() * 8 * columns.len());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fits::Table;
    use crate::skymap::{Cell, Distance, MapHeader};

    /// Twelve cells of order 0, the last split in four, unsorted.
    fn map(with_distances: bool, header: MapHeader) -> MultiOrderMap {
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

    fn header() -> MapHeader {
        MapHeader {
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
    fn encoded_maps_round_trip() {
        for (with_distances, header) in [(true, header()), (false, header()), (true, MapHeader::default())] {
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
    fn header_matches_real_maps() {
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
        // The value in the real MS181101ab map, within the precision of f64.
        assert!((table.header_f64("MJD-OBS").expect("a date") - 58_423.932_484_426_35).abs() < 1e-10);
    }

    #[test]
    fn rejects_values_that_fits_cannot_represent() {
        for change in [
            MapHeader { object: Some("x".repeat(100)), ..MapHeader::default() },
            MapHeader { creator: Some("a\nb".to_owned()), ..MapHeader::default() },
            MapHeader { dist_mean: Some(f64::NAN), ..MapHeader::default() },
        ] {
            let error = encode(&map(false, change)).expect_err("a header");
            assert!(error.to_string().starts_with("FITS card `"), "{error}");
        }
    }
}
