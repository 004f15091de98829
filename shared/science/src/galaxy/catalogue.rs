//! A galaxy catalogue, column by column.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use shared::{Error, Result};

use crate::fits::Rows;
use crate::skymap::MAX_ORDER;

/// The most rows of a catalogue; NED-LVS has 1.9 million.
pub const MAX_ROWS: usize = 50_000_000;
/// What a gzipped catalogue may inflate to [bytes].
const MAX_INFLATED_BYTES: u64 = 4 << 30;
/// How much of a FITS table is in memory at a time [bytes].
const CHUNK_BYTES: usize = 8 << 20;

/// What a catalogue's columns are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The galaxy's name.
    pub name: String,
    /// Right ascension [deg].
    pub ra: String,
    /// Declination [deg].
    pub dec: String,
    /// Distance [Mpc].
    pub distance: String,
    /// Stellar mass [M☉].
    pub mass: String,
}

impl Default for Columns {
    /// The names of NED-LVS (Cook et al. 2023, doi:10.3847/1538-4365/acdd06).
    fn default() -> Self {
        let [name, ra, dec, distance, mass] = ["objname", "ra", "dec", "DistMpc", "Mstar"].map(str::to_owned);
        Columns { name, ra, dec, distance, mass }
    }
}

impl Columns {
    fn all(&self) -> [&str; 5] {
        [&self.name, &self.ra, &self.dec, &self.distance, &self.mass]
    }
}

impl FromStr for Columns {
    type Err = Error;

    /// `name=…,ra=…,dec=…,distance=…,mass=…`; what is left out has the name of NED-LVS.
    fn from_str(text: &str) -> Result<Self> {
        let mut columns = Columns::default();
        for part in text.split(',') {
            let (what, column) = part.split_once('=').map_or((part, ""), |(what, column)| (what.trim(), column.trim()));
            let place = match what {
                "name" => &mut columns.name,
                "ra" => &mut columns.ra,
                "dec" => &mut columns.dec,
                "distance" => &mut columns.distance,
                "mass" => &mut columns.mass,
                _ => {
                    return Err(Error::permanent(format!(
                        "`{}`: expected `name=…`, `ra=…`, `dec=…`, `distance=…` or `mass=…`",
                        what.escape_default()
                    )));
                }
            };
            if column.is_empty() {
                return Err(Error::permanent(format!("`{what}`: expected the name of a column")));
            }
            *place = column.to_owned();
        }
        Ok(columns)
    }
}

/// Galaxies that can be ranked, in the order of their file.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// All names, one after another.
    names: String,
    /// Where each name ends.
    name_ends: Vec<usize>,
    ra: Vec<f64>,
    dec: Vec<f64>,
    dist: Vec<f64>,
    mstar: Vec<f64>,
    /// The cell of order 29 under each galaxy.
    ipix_29: Vec<u64>,
    dropped: Dropped,
}

/// One galaxy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Galaxy<'a> {
    /// Its name.
    pub name: &'a str,
    /// Right ascension, ICRS [deg].
    pub ra: f64,
    /// Declination, ICRS [deg].
    pub dec: f64,
    /// Distance [Mpc].
    pub dist: f64,
    /// Stellar mass [M☉].
    pub mstar: f64,
}

/// How many rows were left out, by the first reason that applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// No name.
    pub no_name: usize,
    /// A position that is missing or not on the sphere (right ascension 0–360, declination −90–90).
    pub no_position: usize,
    /// A distance that is missing or not positive.
    pub no_distance: usize,
    /// A stellar mass that is missing or negative.
    pub no_mass: usize,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { no_name, no_position, no_distance, no_mass } = self;
        write!(
            f,
            "{no_name} without name, {no_position} without position, {no_distance} without distance, {no_mass} without mass"
        )
    }
}

impl Catalogue {
    /// Reads a catalogue from the bytes of its file; see [`Catalogue::read_from`]. The columns are those of NED-LVS.
    ///
    /// # Errors
    /// As [`Catalogue::read_from`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_from(bytes, &Columns::default())
    }

    /// Reads a catalogue from its beginning to its end: FITS, or CSV with a header line, raw or gzipped. The columns
    /// of name, right ascension and declination [deg], distance [Mpc] and stellar mass [M☉] are found by their names
    /// in any case, others are ignored. Rows that cannot be ranked are left out and counted. Memory grows with the
    /// rows that are kept, not with the file.
    ///
    /// # Errors
    /// Permanent, naming the column or line, for a file that is neither, a missing column or one of another kind, too
    /// many rows, or no usable row.
    pub fn read_from<'a>(mut source: impl Read + 'a, columns: &Columns) -> Result<Self> {
        let mut first = beginning(&mut source)?;
        let mut source: Box<dyn Read + 'a> = Box::new(Cursor::new(first.clone()).chain(source));
        if first.starts_with(&[0x1f, 0x8b]) {
            source =
                Box::new(Inflated { source: MultiGzDecoder::new(BufReader::new(source)), left: MAX_INFLATED_BYTES });
            first = beginning(&mut source)?;
            source = Box::new(Cursor::new(first.clone()).chain(source));
        }
        let source = BufReader::with_capacity(1 << 20, source);
        let catalogue = if first.starts_with(b"SIMPLE") {
            Self::from_fits(Rows::open(source)?, columns)?
        } else {
            Self::from_csv(source, columns)?
        };
        if catalogue.is_empty() {
            return Err(Error::permanent(format!(
                "expected galaxies with name, position, distance and mass, found none ({})",
                catalogue.dropped
            )));
        }
        Ok(catalogue)
    }

    fn from_fits(mut table: Rows<impl Read>, columns: &Columns) -> Result<Self> {
        if table.rows() > MAX_ROWS {
            return Err(Error::permanent(format!("expected at most {MAX_ROWS} rows, found {}", table.rows())));
        }
        let [objname, ra, dec, dist, mstar] = columns.all();
        let mut catalogue = Catalogue::default();
        while let Some(chunk) = table.next_chunk(CHUNK_BYTES)? {
            let names = chunk.strings(objname)?;
            let [ra, dec, dist, mstar] = [chunk.f64s(ra)?, chunk.f64s(dec)?, chunk.f64s(dist)?, chunk.f64s(mstar)?];
            for (i, name) in names.iter().enumerate() {
                catalogue.add(Galaxy { name, ra: ra[i], dec: dec[i], dist: dist[i], mstar: mstar[i] });
            }
        }
        Ok(catalogue)
    }

    fn from_csv(source: impl Read, columns: &Columns) -> Result<Self> {
        let csv = |error: csv::Error| Error::permanent(format!("expected FITS or CSV: {error}"));
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(source);
        let header = reader.byte_headers().map_err(csv)?.clone();
        let mut places = [0; 5];
        for (place, column) in places.iter_mut().zip(columns.all()) {
            let same = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(column.as_bytes());
            *place = header.iter().position(same).ok_or_else(|| {
                let found: Vec<Cow<'_, str>> = header.iter().take(8).map(String::from_utf8_lossy).collect();
                let found: String = found.join(", ").chars().take(120).collect();
                Error::permanent(format!(
                    "column `{column}`: expected it, found the columns {}",
                    found.escape_default()
                ))
            })?;
        }
        let [objname, ra, dec, dist, mstar] = places;
        let mut catalogue = Catalogue::default();
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(csv)? {
            if catalogue.len() >= MAX_ROWS {
                return Err(Error::permanent(format!("expected at most {MAX_ROWS} rows, found more")));
            }
            let field = |place: usize| record.get(place).unwrap_or_default();
            // A blank or a text such as `nan` or `--` is a missing value.
            let number =
                |place: usize| str::from_utf8(field(place)).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
            catalogue.add(Galaxy {
                name: &String::from_utf8_lossy(field(objname)),
                ra: number(ra),
                dec: number(dec),
                dist: number(dist),
                mstar: number(mstar),
            });
        }
        Ok(catalogue)
    }

    /// Adds a galaxy, or counts why not.
    fn add(&mut self, galaxy: Galaxy<'_>) {
        self.add_in(galaxy, |ra, dec| {
            cdshealpix::nested::hash(MAX_ORDER, ra.rem_euclid(360.0).to_radians(), dec.to_radians())
        });
    }

    /// Adds a galaxy whose cell of order 29 is known or worked out from its position [deg], or counts why not.
    pub(super) fn add_in(&mut self, galaxy: Galaxy<'_>, cell: impl FnOnce(f64, f64) -> u64) {
        let Galaxy { name, ra, dec, dist, mstar } = galaxy;
        let name = name.trim();
        if name.is_empty() {
            self.dropped.no_name += 1;
        } else if !(0.0..=360.0).contains(&ra) || !(-90.0..=90.0).contains(&dec) {
            self.dropped.no_position += 1;
        } else if !(dist > 0.0 && dist.is_finite()) {
            self.dropped.no_distance += 1;
        } else if !(mstar >= 0.0 && mstar.is_finite()) {
            self.dropped.no_mass += 1;
        } else {
            self.names.push_str(name);
            self.name_ends.push(self.names.len());
            self.ra.push(ra);
            self.dec.push(dec);
            self.dist.push(dist);
            self.mstar.push(mstar);
            self.ipix_29.push(cell(ra, dec));
        }
    }

    /// How many galaxies can be ranked.
    pub fn len(&self) -> usize {
        self.ra.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ra.is_empty()
    }

    /// How many rows were left out.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Galaxy `i`, counted from 0 in the order of the file without the rows that were left out.
    ///
    /// # Panics
    /// For `i` ≥ [`Catalogue::len`], as a slice does.
    pub fn galaxy(&self, i: usize) -> Galaxy<'_> {
        let start = if i == 0 { 0 } else { self.name_ends[i - 1] };
        Galaxy {
            name: &self.names[start..self.name_ends[i]],
            ra: self.ra[i],
            dec: self.dec[i],
            dist: self.dist[i],
            mstar: self.mstar[i],
        }
    }

    /// Distance of galaxy `i` [Mpc].
    pub(super) fn dist(&self, i: usize) -> f64 {
        self.dist[i]
    }

    /// The cell of order 29 under each galaxy.
    pub(super) fn ipix_29(&self) -> &[u64] {
        &self.ipix_29
    }
}

/// What gzip inflates to, up to a limit that is an error and not the end.
struct Inflated<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(bytes)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| {
            io::Error::other(format!("gzip: expected at most {MAX_INFLATED_BYTES} bytes inflated, found more"))
        })?;
        Ok(read)
    }
}

/// The first bytes of a file, by which its format is known.
fn beginning(source: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(9).read_to_end(&mut bytes).map_err(|error| Error::permanent(format!("catalogue: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Catalogue> {
        Catalogue::read(text.as_bytes())
    }

    #[test]
    fn columns_are_found_by_name_and_unusable_rows_counted() {
        let catalogue = read(
            "Mstar,z,OBJNAME,Ra,DEC,distmpc\n\
             1e10,0.1, NGC 1 ,0,90,40\n\
             0,0.1,NGC 2,360,-90,0.5\n\
             1e10,0.1,,1,2,3\n\
             1e10,0.1,a,nan,2,3\n\
             1e10,0.1,a,361,2,3\n\
             1e10,0.1,a,1,-90.1,3\n\
             1e10,0.1,a,1,2,0\n\
             1e10,0.1,a,1,2,inf\n\
             ,0.1,a,1,2,3\n\
             -1,0.1,a,1,2,3\n\
             --,0.1,a,1,2,3\n",
        )
        .expect("a catalogue");
        assert_eq!(catalogue.len(), 2);
        assert_eq!(catalogue.galaxy(0), Galaxy { name: "NGC 1", ra: 0.0, dec: 90.0, dist: 40.0, mstar: 1e10 });
        assert_eq!(catalogue.galaxy(1), Galaxy { name: "NGC 2", ra: 360.0, dec: -90.0, dist: 0.5, mstar: 0.0 });
        assert_eq!(catalogue.dropped(), Dropped { no_name: 1, no_position: 3, no_distance: 2, no_mass: 3 });
    }

    /// A FITS table of columns (name, format, the bytes of each row's value).
    fn fits(columns: &[(&str, &str, [&[u8]; 2])]) -> Vec<u8> {
        let width: usize = columns.iter().map(|(_, _, rows)| rows[0].len()).sum();
        let mut cards = vec![
            "XTENSION= 'BINTABLE'".to_owned(),
            "BITPIX  = 8".to_owned(),
            "NAXIS   = 2".to_owned(),
            format!("NAXIS1  = {width}"),
            "NAXIS2  = 2".to_owned(),
            "PCOUNT  = 0".to_owned(),
            "GCOUNT  = 1".to_owned(),
            format!("TFIELDS = {}", columns.len()),
        ];
        for (i, (name, form, _)) in (1..).zip(columns) {
            cards.push(format!("TTYPE{i}  = '{name}'"));
            cards.push(format!("TFORM{i}  = '{form}'"));
        }
        let header = |cards: &[String]| {
            let text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
            format!("{:<width$}", text + "END", width = 2880).into_bytes()
        };
        let primary =
            ["SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0", "EXTEND  = T"].map(str::to_owned);
        let mut bytes = header(&primary);
        bytes.extend(header(&cards));
        for row in 0..2 {
            bytes.extend(columns.iter().flat_map(|(_, _, rows)| rows[row]));
        }
        bytes.resize(bytes.len().next_multiple_of(2880), 0);
        bytes
    }

    #[test]
    fn fits_columns_of_other_types_are_converted_or_named() {
        let (ra, dec) =
            ([10i16.to_be_bytes(), 359i16.to_be_bytes()], [(-1.5f32).to_be_bytes(), f32::NAN.to_be_bytes()]);
        let (dist, mass) = ([40i64.to_be_bytes(), 1i64.to_be_bytes()], [1e10f64.to_be_bytes(), 1e9f64.to_be_bytes()]);
        let good: [(&str, &str, [&[u8]; 2]); 5] = [
            ("OBJNAME", "4A", [b"NGC1", b"B   "]),
            ("RA", "I", [&ra[0], &ra[1]]),
            ("Dec", "E", [&dec[0], &dec[1]]),
            ("DISTMPC", "K", [&dist[0], &dist[1]]),
            ("mstar", "D", [&mass[0], &mass[1]]),
        ];
        let bytes = fits(&good);
        let catalogue = Catalogue::read(&bytes).expect("a catalogue");
        assert_eq!(catalogue.galaxy(0), Galaxy { name: "NGC1", ra: 10.0, dec: -1.5, dist: 40.0, mstar: 1e10 });
        assert_eq!(catalogue.dropped(), Dropped { no_position: 1, ..Dropped::default() });
        for (place, named) in [(0, "objname"), (1, "ra"), (2, "dec"), (3, "DistMpc"), (4, "Mstar")] {
            let (mut missing, mut other) = (good, good);
            missing[place].0 = "other";
            other[place] =
                if place == 0 { (good[0].0, "I", [&ra[0], &ra[1]]) } else { (good[place].0, "4A", [b"much", b"more"]) };
            for columns in [missing, other] {
                let error = Catalogue::read(&fits(&columns)).expect_err(named);
                assert!(!error.is_retryable() && error.to_string().contains(&format!("`{named}`")), "{error}");
            }
        }
        for cut in [100, 2880, 2881, 5000, 5770] {
            assert!(Catalogue::read(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        for (text, named) in [
            ("objname,ra,dec,DistMpc\na,1,2,3\n", "`Mstar`"),
            ("", "`objname`"),
            ("\u{0}\u{1}\u{2}", "`objname`"),
            ("objname,ra,dec,DistMpc,Mstar\n", "found none"),
            ("objname,ra,dec,DistMpc,Mstar\na,1,2,3,nan\n", "1 without mass"),
            ("objname,ra,dec,DistMpc,Mstar\na,1,2\n", "line: 2"),
            ("SIMPLE  =  nonsense", ""),
            ("\u{1f}\u{8b}", ""),
        ] {
            let error = read(text).expect_err(text);
            assert!(!error.is_retryable() && error.to_string().contains(named), "{text}: {error}");
        }
    }
}
