//! A galaxy catalogue, column by column.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Cursor, Read};

use serde::{Deserialize, Serialize};
use shared::{Context, Error, Result};

use super::columns::{Columns, Scales};
use crate::fits::Rows;
use crate::gzip::{self, Inflated};
use crate::skymap::MAX_ORDER;

/// Limit on the rows of a catalogue; NED-LVS has 1.9 million.
pub const MAX_ROWS: usize = 50_000_000;
/// Limit on the inflated size of a gzipped catalogue [bytes].
const MAX_INFLATED_BYTES: u64 = 4 << 30;
/// Bytes of a FITS table in memory at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// Galaxies that can be ranked, in file order.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// All names, concatenated.
    names: String,
    /// End of each name in `names` [bytes].
    name_ends: Vec<usize>,
    ra: Vec<f64>,
    dec: Vec<f64>,
    dist: Vec<f64>,
    mstar: Vec<f64>,
    /// The cell of order 29 that contains each galaxy.
    ipix_29: Vec<u64>,
    dropped: Dropped,
    warnings: Vec<String>,
}

/// One galaxy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Galaxy<'a> {
    /// Name.
    pub name: &'a str,
    /// Right ascension, ICRS \[deg\].
    pub ra: f64,
    /// Declination, ICRS \[deg\].
    pub dec: f64,
    /// Distance \[Mpc\].
    pub dist: f64,
    /// Stellar mass [M☉].
    pub mstar: f64,
}

/// Number of rows left out, by the first reason that applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// No name.
    pub no_name: usize,
    /// A position that is missing or not on the sphere (right ascension −360–360, declination −90–90).
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
    /// [`Catalogue::read_from`] bytes, with the columns of NED-LVS.
    ///
    /// # Errors
    /// As [`Catalogue::read_from`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_from(bytes, &Columns::default())
    }

    /// Streams a catalogue: FITS, or CSV with a header line, raw or gzipped. The columns of name, right ascension and
    /// declination \[deg\], distance \[Mpc\] and stellar mass [M☉] are found by exact name, else by the only name that
    /// matches when case is ignored; other columns are ignored. Numbers are converted from the unit in `columns`, else
    /// from the file's (TUNIT; ECSV header). Right ascensions below 0 count from 360. Rows that cannot be ranked are
    /// left out and counted. Memory grows with the rows kept, not with the file.
    ///
    /// # Errors
    /// Permanent, naming the column or line, for another format, a missing, ambiguous or wrongly typed column, an
    /// unknown unit, too many rows, or no usable row.
    pub fn read_from<'a>(mut source: impl Read + 'a, columns: &Columns) -> Result<Self> {
        let mut first = peek(&mut source)?;
        let mut source: Box<dyn Read + 'a> = Box::new(Cursor::new(first.clone()).chain(source));
        if gzip::is_gzip(&first) {
            source = Box::new(Inflated::new(BufReader::new(source), MAX_INFLATED_BYTES));
            first = peek(&mut source)?;
            source = Box::new(Cursor::new(first.clone()).chain(source));
        }
        let source = BufReader::with_capacity(1 << 20, source);
        let (mut catalogue, scales) = if first.starts_with(b"SIMPLE") {
            Self::from_fits(Rows::open(source)?, columns)?
        } else {
            Self::from_csv(source, columns)?
        };
        catalogue.warnings = catalogue.unit_warnings(columns, &scales);
        if catalogue.is_empty() {
            return Err(Error::permanent(format!(
                "expected galaxies with name, position, distance and mass, found none ({})",
                catalogue.dropped
            )));
        }
        Ok(catalogue)
    }

    fn from_fits(mut table: Rows<impl Read>, columns: &Columns) -> Result<(Self, Scales)> {
        if table.rows() > MAX_ROWS {
            return Err(Error::permanent(format!("expected at most {MAX_ROWS} rows, found {}", table.rows())));
        }
        let [objname, ra, dec, dist, mstar] = columns.all();
        let mut catalogue = Catalogue::default();
        let mut scales = Scales::default();
        while let Some(chunk) = table.next_chunk(CHUNK_BYTES)? {
            let names = chunk.strings(objname)?;
            scales = columns.scales([chunk.unit(ra)?, chunk.unit(dec)?, chunk.unit(dist)?, chunk.unit(mstar)?])?;
            let [ra, dec, dist, mstar] = [chunk.f64s(ra)?, chunk.f64s(dec)?, chunk.f64s(dist)?, chunk.f64s(mstar)?];
            for (i, name) in names.iter().enumerate() {
                catalogue.add(scales.galaxy(name, [ra[i], dec[i], dist[i], mstar[i]]));
            }
        }
        Ok((catalogue, scales))
    }

    fn from_csv(mut source: impl BufRead, columns: &Columns) -> Result<(Self, Scales)> {
        let units = ecsv_units(&mut source)?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(source);
        let header = reader.byte_headers().permanent("expected FITS or CSV")?.clone();
        let mut places = [0; 5];
        for (place, column) in places.iter_mut().zip(columns.all()) {
            let named = |same: &dyn Fn(&[u8]) -> bool| -> Vec<usize> {
                (0..header.len()).filter(|i| header.get(*i).is_some_and(|name| same(name.trim_ascii()))).collect()
            };
            let mut places = named(&|name| name == column.as_bytes());
            if places.is_empty() {
                places = named(&|name| name.eq_ignore_ascii_case(column.as_bytes()));
            }
            if places.len() > 1 {
                let found = places.iter().take(8).filter_map(|i| header.get(*i)).map(String::from_utf8_lossy);
                let found: Vec<String> = found.map(|name| format!("`{}`", name.trim().escape_default())).collect();
                return Err(Error::permanent(format!(
                    "column `{column}`: expected one, found {}; name it as it is written",
                    found.join(", ")
                )));
            }
            *place = places.first().copied().ok_or_else(|| {
                let found: Vec<Cow<'_, str>> = header.iter().take(8).map(String::from_utf8_lossy).collect();
                let found: String = found.join(", ").chars().take(120).collect();
                Error::permanent(format!(
                    "column `{column}`: expected it, found the columns {}",
                    found.escape_default()
                ))
            })?;
        }
        let [objname, ra, dec, dist, mstar] = places;
        let said = [ra, dec, dist, mstar]
            .map(|place| units.get(String::from_utf8_lossy(header.get(place).unwrap_or_default()).trim()).cloned());
        let scales = columns.scales(said)?;
        let mut catalogue = Catalogue::default();
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).permanent("expected FITS or CSV")? {
            if catalogue.len() >= MAX_ROWS {
                return Err(Error::permanent(format!("expected at most {MAX_ROWS} rows, found more")));
            }
            let field = |place: usize| record.get(place).unwrap_or_default();
            // A blank or a text such as `nan` or `--` is a missing value.
            let number =
                |place: usize| str::from_utf8(field(place)).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
            let name = String::from_utf8_lossy(field(objname));
            catalogue.add(scales.galaxy(&name, [number(ra), number(dec), number(dist), number(mstar)]));
        }
        Ok((catalogue, scales))
    }

    /// Warns of columns without a unit whose values suggest another unit than the default.
    fn unit_warnings(&self, columns: &Columns, scales: &Scales) -> Vec<String> {
        const MIN_ROWS: usize = 1000;
        let mut found = Vec::new();
        if self.len() < MIN_ROWS {
            return found;
        }
        let all = |values: &[f64], test: &dyn Fn(f64) -> bool| values.iter().all(|value| test(*value));
        let rows = self.len();
        if !scales.known[0] && all(&self.ra, &|ra| ra < 24.1) {
            let column = &columns.ra;
            // 90° is 1.57 rad.
            let unit = if all(&self.dec, &|dec| dec.abs() < 1.58) { "rad" } else { "h" };
            found.push(format!(
                "column `{column}` has no unit, and all {rows} right ascensions are below 24.1: read as degrees; if they are \
                 not, name the unit, `ra={column}[{unit}]`"
            ));
        }
        if !scales.known[2] && all(&self.dist, &|dist| dist > 1e5) {
            let column = &columns.distance;
            let unit = if all(&self.dist, &|dist| dist > 1e8) { "m" } else { "pc" };
            found.push(format!(
                "column `{column}` has no unit, and all {rows} distances are above 100000: read as Mpc; if they are not, name \
                 the unit, `distance={column}[{unit}]` or `distance={column}[kpc]`"
            ));
        }
        if !scales.known[3] && all(&self.mstar, &|mstar| mstar < 20.0) && !all(&self.mstar, &|mstar| mstar == 0.0) {
            let column = &columns.mass;
            found.push(format!(
                "column `{column}` has no unit, and all {rows} masses are below 20: read as solar masses; if they are \
                 logarithms, name the unit, `mass={column}[log(solMass)]`"
            ));
        }
        found
    }

    /// Adds a galaxy, or counts the reason for leaving it out.
    fn add(&mut self, galaxy: Galaxy<'_>) {
        self.add_with_cell(galaxy, |ra, dec| {
            cdshealpix::nested::hash(MAX_ORDER, ra.rem_euclid(360.0).to_radians(), dec.to_radians())
        });
    }

    /// [`Catalogue::add`], with `cell` giving the cell of order 29 for a position [deg].
    pub(super) fn add_with_cell(&mut self, galaxy: Galaxy<'_>, cell: impl FnOnce(f64, f64) -> u64) {
        let Galaxy { name, ra, dec, dist, mstar } = galaxy;
        let name = name.trim();
        if name.is_empty() {
            self.dropped.no_name += 1;
        } else if !(-360.0..=360.0).contains(&ra) || !(-90.0..=90.0).contains(&dec) {
            self.dropped.no_position += 1;
        } else if !(dist > 0.0 && dist.is_finite()) {
            self.dropped.no_distance += 1;
        } else if !(mstar >= 0.0 && mstar.is_finite()) {
            self.dropped.no_mass += 1;
        } else {
            self.names.push_str(name);
            self.name_ends.push(self.names.len());
            let ra = if ra < 0.0 { ra + 360.0 } else { ra };
            self.ra.push(ra);
            self.dec.push(dec);
            self.dist.push(dist);
            self.mstar.push(mstar);
            self.ipix_29.push(cell(ra, dec));
        }
    }

    /// Number of galaxies that can be ranked.
    pub fn len(&self) -> usize {
        self.ra.len()
    }

    /// Whether no galaxy can be ranked.
    pub fn is_empty(&self) -> bool {
        self.ra.is_empty()
    }

    /// Warnings about suspicious values, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Number of rows left out.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Galaxy `i`, from 0 in file order, not counting rows left out.
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

    /// The cell of order 29 that contains each galaxy.
    pub(super) fn ipix_29(&self) -> &[u64] {
        &self.ipix_29
    }
}

/// Limit on the ECSV header [bytes].
const MAX_ECSV_HEADER_BYTES: usize = 1 << 20;

/// The units in the comments of an ECSV header, by column; empty for plain CSV.
fn ecsv_units(source: &mut impl BufRead) -> Result<BTreeMap<String, String>> {
    let mut units = BTreeMap::new();
    let (mut line, mut read) = (Vec::new(), 0);
    while source.fill_buf().permanent("catalogue")?.first() == Some(&b'#') && read < MAX_ECSV_HEADER_BYTES {
        line.clear();
        read +=
            source.by_ref().take(MAX_ECSV_HEADER_BYTES as u64).read_until(b'\n', &mut line).permanent("catalogue")?;
        // astropy writes `# - {name: ra, unit: hourangle, datatype: float64}`.
        let text = String::from_utf8_lossy(&line);
        let Some(fields) = text.split_once("- {").and_then(|(_, rest)| rest.rsplit_once('}')) else { continue };
        let value = |key: &str| {
            let fields = fields.0.split(',').filter_map(|field| field.split_once(':'));
            let value = fields.into_iter().find(|(name, _)| name.trim() == key)?.1;
            Some(value.trim().trim_matches(['\'', '"']).to_owned())
        };
        if let (Some(name), Some(unit)) = (value("name"), value("unit")) {
            units.insert(name, unit);
        }
    }
    Ok(units)
}

/// The first bytes of a file, which identify its format.
fn peek(source: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(9).read_to_end(&mut bytes).permanent("catalogue")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Catalogue> {
        Catalogue::read(text.as_bytes())
    }

    #[test]
    fn finds_columns_by_name_and_counts_unusable_rows() {
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

    #[test]
    fn wraps_negative_right_ascensions() {
        let rows = |shift: f64| -> String {
            let row = |i: i32| {
                let ra = f64::from(i) * 0.5;
                let ra = if ra > 180.0 { ra - shift } else { ra };
                format!("G{i},{ra},1,40,1e10\n")
            };
            "objname,ra,dec,DistMpc,Mstar\n".to_owned() + &(0..720).map(row).collect::<String>()
        };
        let (positive, signed) = (read(&rows(0.0)).expect("0 to 360"), read(&rows(360.0)).expect("-180 to 180"));
        assert_eq!((positive.len(), signed.len()), (720, 720));
        assert_eq!(signed.ipix_29(), positive.ipix_29());
        assert!((0..720).all(|i| signed.galaxy(i) == positive.galaxy(i)));
        let ends = read("objname,ra,dec,DistMpc,Mstar\na,-360,1,1,1\nb,-1e-30,1,1,1\nc,-361,1,1,1\nd,-0.0,1,1,1\n")
            .expect("ends");
        assert_eq!((ends.len(), ends.dropped().no_position), (3, 1));
        assert!((0..3).all(|i| (0.0..=360.0).contains(&ends.galaxy(i).ra)));
    }

    #[test]
    fn prefers_exact_column_names_and_rejects_ambiguous_ones() {
        let text = "objname,RA,DEC,ra,dec,DistMpc,Mstar\nG1,20,-2,300,-1,40,1e10\n";
        assert_eq!(read(text).expect("exact names").galaxy(0).ra, 300.0);
        let named = |columns: &str| Catalogue::read_from(text.as_bytes(), &columns.parse().expect(columns));
        assert_eq!(named("ra=RA,dec=DEC").expect("exact names").galaxy(0).ra, 20.0);
        let error = named("ra=Ra").expect_err("two").to_string();
        assert!(error.contains("`RA`, `ra`") && error.contains("`Ra`"), "{error}");
        let twice = read("objname,ra,ra,dec,DistMpc,Mstar\nG1,1,2,3,4,5\n").expect_err("two").to_string();
        assert!(twice.contains("`ra`, `ra`"), "{twice}");
        let columns = [
            ("OBJNAME", "1A", [&b"a"[..], b"b"]),
            ("RA", "B", [&[1], &[2]]),
            ("ra", "B", [&[3], &[4]]),
            ("DEC", "B", [&[5], &[6]]),
            ("distmpc", "B", [&[7], &[8]]),
            ("MSTAR", "B", [&[9], &[9]]),
        ];
        assert_eq!(Catalogue::read(&fits(&columns)).expect("FITS").galaxy(1).ra, 4.0);
        let named = Catalogue::read_from(&fits(&columns)[..], &"ra=rA".parse().expect("columns"));
        assert!(named.is_err_and(|error| error.to_string().contains("`RA`, `ra`")));
    }

    proptest! {
        #[test]
        fn any_header_gives_the_exact_column_or_the_only_similar_one_or_an_error_with_all(
            names in prop::collection::vec(prop::sample::select(vec!["ra", "Ra", "rA", "RA", "ra_err"]), 0..5)
                .prop_flat_map(|names| {
                    let fixed = ["objname", "dec", "DistMpc", "Mstar"];
                    Just(names.into_iter().chain(fixed).collect::<Vec<_>>()).prop_shuffle()
                }),
            wanted in prop::sample::select(vec!["ra", "Ra", "rA", "RA"]),
        ) {
            let places = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
                (0..names.len()).filter(|i| same(names[*i])).collect()
            };
            let mut found = places(&|name| name == wanted);
            if found.is_empty() {
                found = places(&|name| name.eq_ignore_ascii_case(wanted));
            }
            // Each column's value is its place, counted from 1.
            let values: Vec<u8> = (1..).take(names.len()).collect();
            let csv = format!(
                "{}\n{}\n",
                names.join(","),
                values.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
            );
            let columns: Vec<(&str, &str, [&[u8]; 2])> = (0..names.len())
                .map(|i| (names[i], if names[i] == "objname" { "1A" } else { "B" }))
                .zip(values.chunks(1))
                .map(|((name, form), value)| (name, form, [if form == "1A" { b"g" } else { value }; 2]))
                .collect();
            let wanted = format!("ra={wanted}").parse().expect("columns");
            for file in [csv.into_bytes(), fits(&columns)] {
                let read = Catalogue::read_from(&file[..], &wanted);
                match (&found[..], read) {
                    ([place], read) => prop_assert_eq!(read.expect("one").galaxy(0).ra, f64::from(values[*place])),
                    ([], Err(_)) => {}
                    (several, Err(error)) => {
                        let text = error.to_string();
                        prop_assert!(several.iter().all(|place| text.contains(&format!("`{}`", names[*place]))), "{text}");
                    }
                    (found, Ok(read)) => prop_assert!(false, "{found:?}: {}", read.galaxy(0).ra),
                }
            }
        }
    }

    #[test]
    fn reads_units_from_the_file_unless_overridden() {
        let one = |columns: &str, text: &str| {
            let catalogue = Catalogue::read_from(text.as_bytes(), &columns.parse().expect(columns)).expect(text);
            let Galaxy { ra, dec, dist, mstar, .. } = catalogue.galaxy(0);
            [ra, dec, dist, mstar].map(|value| (value * 1e6).round() / 1e6)
        };
        let text = "objname,ra_hours,dec,DistMpc,logM\nG1,20,-1,40000,10\n";
        let columns = "ra=ra_hours[h],distance=DistMpc[kpc],mass=logM[log(M_sun)]";
        assert_eq!(one(columns, text), [300.0, -1.0, 40.0, 1e10]);
        let ecsv = "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n# - {name: objname, datatype: string}\n\
                    # - {name: ra, unit: hourangle, datatype: float64}\n# - {name: dec, unit: rad, datatype: float64}\n\
                    # - {name: DistMpc, unit: kpc, datatype: float64}\n# - {name: Mstar, unit: 'dex(solMass)'}\n\
                    objname,ra,dec,DistMpc,Mstar\nG1,20,0.5,40000,10\n";
        assert_eq!(one("name=objname", ecsv), [300.0, 28.647890, 40.0, 1e10]);
        let error = read(&ecsv.replace("kpc", "furlong")).expect_err("a unit").to_string();
        assert!(error.contains("DistMpc") && error.contains("furlong"), "{error}");
        for wrong in ["ra=ra[furlong]", "name=objname[h]", "dec=dec[h]", "ra=[h]x["] {
            let columns = wrong.parse::<Columns>();
            assert!(columns.is_err() || wrong == "ra=[h]x[", "{wrong}");
        }
    }

    #[test]
    fn warns_of_implausible_values_with_the_option_to_pass() {
        let text = |row: &dyn Fn(usize) -> String| -> String {
            "objname,ra,dec,DistMpc,Mstar\n".to_owned() + &(0..1000).map(row).collect::<String>()
        };
        let warned = |columns: &str, text: &str| {
            let columns = columns.parse().expect(columns);
            Catalogue::read_from(text.as_bytes(), &columns).expect("a catalogue").warnings().join("\n")
        };
        let hours = text(&|i| format!("G{i},{},{},40,1e10\n", 24.0 * i as f64 / 1000.0, i % 80));
        assert!(warned("name=objname", &hours).contains("ra=ra[h]"));
        assert_eq!(warned("ra=ra[h]", &hours), "");
        assert_eq!(warned("ra=ra[deg]", &hours), "");
        let radians =
            text(&|i| format!("G{i},{},{},40,1e10\n", std::f64::consts::TAU * i as f64 / 1000.0, i as f64 / 1000.0));
        assert!(warned("name=objname", &radians).contains("ra=ra[rad]"));
        let parsecs = text(&|i| format!("G{i},{},1,{},1e10\n", i as f64 * 0.3, 4e7));
        assert!(warned("name=objname", &parsecs).contains("distance=DistMpc[pc]"));
        let logarithms = text(&|i| format!("G{i},{},1,40,{}\n", i as f64 * 0.3, 10.5));
        assert!(warned("name=objname", &logarithms).contains("mass=Mstar[log(solMass)]"));
        let ours = text(&|i| format!("G{i},{},1,40,1e10\n", i as f64 * 0.3));
        assert_eq!(warned("name=objname", &ours), "");
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
    fn converts_numeric_fits_types_and_names_wrong_columns() {
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
    fn rejects_files_that_are_no_catalogue() {
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
