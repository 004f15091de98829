//! `gwtm where`: where positions lie in a sky map.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use annotate::galaxies::{self, PlottedGalaxy};
use clap::ValueEnum;
use science::skymap::MultiOrderMap;
use science::skymap::crossmatch::{Located, NearestPositions, Position};
use serde::Serialize;
use shared::key::{AlertKind, AlertName, Key, Object, SupereventId, prefix_of};
use shared::notice::Envelope;
use shared::notice::igwn::Notice;
use shared::{Context, Error, Result};
use store::Store;

use crate::Failure;
use crate::arguments::store_help;
use crate::notices::{read_all, read_file};

/// Limit on the positions of one call.
const MAX_POSITIONS: usize = 1_000_000;
/// Number of galaxies that JSON lists for a position.
const NEAREST: usize = 3;
/// The columns of a file of positions, each with the names that it may have, in any case.
const RA: &[&str] = &["ra", "ra_deg", "right_ascension"];
const DEC: &[&str] = &["dec", "dec_deg", "declination"];
const DISTANCE: &[&str] = &["distance", "distance_mpc", "dist", "distmpc"];
const NAME: &[&str] = &["name", "objname", "id"];

/// Options of `gwtm where`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "gwtm where [OPTIONS] <RA> <DEC> <MAP>\n       gwtm where [OPTIONS] --file <CSV> <MAP>",
    after_help = "\
Examples:
  gwtm where 194.3 -17.86 S230518h                   the newest map of a superevent in the store
  gwtm where 194.3 -17.86 --distance 40 alert.json   with searched volume
  gwtm where --file candidates.csv --format csv S230518h-Initial
  gwtm where --file - bayestar.multiorder.fits < candidates.csv

searched_prob and searched_area: probability and area of the cells that are at least as dense as the position's.
searched_prob_vol and searched_vol: probability and volume where the density in space is higher than at the position, \
which takes a distance. inside: the smallest of the 50 and 90 % credible regions that contains the position. Galaxies are \
those of the alert's ranked list in the store."
)]
pub struct WhereOptions {
    /// Store of the superevents and alerts.
    #[arg(long, value_name = "URL|DIR", help = store_help("Store of the superevents and alerts"))]
    pub store: Option<String>,
    /// Distance of the position in Mpc.
    #[arg(long, value_name = "MPC", conflicts_with = "file", allow_negative_numbers = true)]
    pub distance: Option<f64>,
    /// CSV file of positions, `-` for standard input: columns `ra` and `dec` in degrees, optionally `distance` in Mpc and `name`.
    #[arg(long, value_name = "CSV")]
    pub file: Option<PathBuf>,
    /// Output format; JSON is one object a line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Right ascension and declination (ICRS, degrees), and a map: a superevent or an alert in the store, an alert file or
    /// a multi-order map file.
    #[arg(required = true, num_args = 1..=3, value_name = "RA DEC MAP", allow_negative_numbers = true)]
    pub arguments: Vec<String>,
}

/// How positions are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// A header and a row for each position.
    Csv,
    /// An object for each position.
    Json,
}

/// A position with its name.
#[derive(Debug, PartialEq)]
struct NamedPosition {
    name: String,
    position: Position,
}

/// A map, and the galaxies that were ranked with it.
struct RankedMap {
    name: String,
    map: MultiOrderMap,
    galaxies: Vec<PlottedGalaxy>,
    retracted: bool,
}

/// The outcome for one position.
#[derive(Serialize)]
struct PositionRow<'a> {
    name: &'a str,
    ra_deg: f64,
    dec_deg: f64,
    #[serde(rename = "distance_Mpc")]
    distance: Option<f64>,
    #[serde(flatten)]
    located: Located,
    /// The nearest ranked galaxies.
    galaxies: Vec<Neighbour<'a>>,
    map: &'a str,
}

#[derive(Serialize)]
struct Neighbour<'a> {
    separation_deg: f64,
    #[serde(flatten)]
    galaxy: &'a PlottedGalaxy,
}

impl WhereOptions {
    /// Runs the command.
    ///
    /// # Errors
    /// When the arguments, the positions or the map are wrong, or the store fails.
    pub async fn run(&self) -> std::result::Result<(), Failure> {
        let (candidates, map) = self.candidates()?;
        let target = self.target(map).await?;
        if target.retracted {
            eprintln!("note: the superevent of {} is retracted", target.name);
        }
        let rows = rows(&candidates, &target).map_err(Failure::usage)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = match self.format {
            Format::Table => print_table(&mut out, &target.name, &rows),
            Format::Csv => print_csv(&mut out, &rows),
            Format::Json => print_json(&mut out, &rows),
        };
        printed.and_then(|()| out.flush()).map_err(Failure::work)
    }

    /// The positions, and what names the map.
    fn candidates(&self) -> std::result::Result<(Vec<NamedPosition>, &str), Failure> {
        match (&self.file, &self.arguments[..]) {
            (Some(file), [map]) => {
                let bytes = if file == Path::new("-") { read_all(io::stdin().lock()) } else { read_file(file) };
                let candidates = bytes.and_then(|bytes| parse_candidates(&bytes));
                let named = |error: Error| Failure::usage(error.of(format!("file `{}`", file.display())));
                Ok((candidates.map_err(named)?, map))
            }
            (None, [ra, dec, map]) => {
                let degrees = |what: &str, text: &String| {
                    let wrong = || Failure::usage(format!("{what}: expected degrees, found `{text}`"));
                    text.parse::<f64>().map_err(|_| wrong())
                };
                let (ra_deg, dec_deg) = (degrees("right ascension", ra)?, degrees("declination", dec)?);
                let position = Position { ra_deg, dec_deg, distance: self.distance };
                Ok((vec![NamedPosition { name: "1".to_owned(), position }], map))
            }
            (Some(_), _) => Err(Failure::usage("expected one map with --file: `gwtm where --file candidates.csv MAP`")),
            (None, _) => Err(Failure::usage("expected a position and a map: `gwtm where RA DEC MAP`")),
        }
    }

    async fn target(&self, name: &str) -> std::result::Result<RankedMap, Failure> {
        let path = Path::new(name);
        if path.is_file() {
            let map = read_file(path).and_then(|bytes| read_map(&bytes));
            let map = map.map_err(|error| Failure::work(error.of(format!("file `{name}`"))))?;
            return Ok(RankedMap { name: name.to_owned(), map, galaxies: Vec::new(), retracted: false });
        }
        let (alert, superevent) = (name.parse::<AlertName>().ok(), name.parse::<SupereventId>().ok());
        let Some(id) = superevent.or_else(|| alert.as_ref().map(|alert| alert.superevent_id.clone())) else {
            return Err(Failure::usage(format!(
                "map `{name}`: expected a file, a superevent such as `S230518h` or an alert such as `S230518h-Initial`"
            )));
        };
        let location = config::location(self.store.as_deref(), "").map_err(Failure::usage)?;
        let store = Store::open(&location).await.map_err(Failure::usage)?;
        stored(&store, &id, alert).await.map_err(Failure::work)
    }
}

/// The map of an alert, or the newest of a superevent's own alerts (not of its external coincidences'), with the alert's
/// galaxies.
async fn stored(store: &Store, id: &SupereventId, alert: Option<AlertName>) -> Result<RankedMap> {
    let keys = store.keys(&prefix_of(id)).await?;
    let alert = match alert {
        Some(alert) => alert,
        None => newest(store, &keys).await?.ok_or_else(|| {
            Error::permanent(format!("superevent `{id}`: expected an alert with a sky map in the store, found none"))
        })?,
    };
    let key = Object::MultiOrderMap(&alert).key()?;
    let map = MultiOrderMap::decode(&store.read(&key).await?).map_err(|error| error.of(format!("sky map `{key}`")))?;
    let list = Object::GalaxiesCsv(&alert).key()?;
    let galaxies = match store.get(&list).await? {
        Some(table) => galaxies::first(&table, usize::MAX).map_err(|error| error.of(format!("object `{list}`")))?,
        None => Vec::new(),
    };
    let is_retraction = |key: &Key| key.notice_of().is_some_and(|name| name.alert_type.kind == AlertKind::Retraction);
    Ok(RankedMap { name: alert.to_string(), map, galaxies, retracted: keys.iter().any(is_retraction) })
}

/// The alert of the newest map, by the time of its notice.
async fn newest(store: &Store, keys: &[Key]) -> Result<Option<AlertName>> {
    let mut found = Vec::new();
    for name in keys.iter().filter_map(Key::map_of).filter(|name| !name.alert_type.external) {
        let notice = store.get(&Object::Notice(&name).key()?).await?;
        found.push((notice.and_then(|notice| Envelope::of(&notice).time_created), name.n, name));
    }
    Ok(found.into_iter().max().map(|(.., name)| name))
}

/// The map of an alert, or a map itself.
fn read_map(bytes: &[u8]) -> Result<MultiOrderMap> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if !text.starts_with(b"{") {
        return MultiOrderMap::decode(bytes);
    }
    let notice = Notice::parse(bytes)?;
    match (notice.skymap, notice.skymap_error) {
        (Some(map), None) => MultiOrderMap::decode(&map).map_err(|error| error.of("field `event.skymap`")),
        (_, Some(error)) => Err(error),
        (None, None) => Err(Error::permanent("field `event.skymap`: expected a sky map, found none")),
    }
}

/// Reads a file of positions.
fn parse_candidates(bytes: &[u8]) -> Result<Vec<NamedPosition>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(bytes);
    let header = reader.headers().permanent("expected CSV")?.clone();
    let column = |names: &[&str]| {
        let is_named = |found: &str| names.iter().any(|name| found.eq_ignore_ascii_case(name));
        // A byte-order mark belongs to no name.
        header.iter().position(|found| is_named(found.trim_start_matches('\u{feff}')))
    };
    let required = |names: &[&str]| {
        let found: String = header.iter().take(8).collect::<Vec<_>>().join(", ").chars().take(120).collect();
        let absent = || {
            Error::permanent(format!(
                "column `{}`: expected it, found the columns {}",
                names[0],
                found.escape_default()
            ))
        };
        column(names).ok_or_else(absent)
    };
    let (ra, dec, distance, name) = (required(RA)?, required(DEC)?, column(DISTANCE), column(NAME));
    let mut candidates = Vec::new();
    for (row, record) in (1..).zip(reader.records()) {
        let record = record.permanent("expected CSV")?;
        if row > MAX_POSITIONS {
            return Err(Error::permanent(format!("expected at most {MAX_POSITIONS} positions, found more")));
        }
        let number = |place: usize, expected: &str| {
            let text = record.get(place).unwrap_or_default();
            text.parse::<f64>().map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                let column = &header[place];
                Error::permanent(format!(
                    "row {row}: column `{column}`: expected {expected}, found `{}`",
                    shown.escape_default()
                ))
            })
        };
        let distance = distance.filter(|place| record.get(*place).is_some_and(|text| !text.is_empty()));
        let position = Position {
            ra_deg: number(ra, "degrees")?,
            dec_deg: number(dec, "degrees")?,
            distance: distance.map(|place| number(place, "Mpc")).transpose()?,
        };
        let name = name.and_then(|place| record.get(place)).filter(|name| !name.is_empty());
        candidates.push(NamedPosition { name: name.map_or_else(|| row.to_string(), str::to_owned), position });
    }
    if candidates.is_empty() { Err(Error::permanent("expected positions, found none")) } else { Ok(candidates) }
}

fn rows<'a>(candidates: &'a [NamedPosition], target: &'a RankedMap) -> Result<Vec<PositionRow<'a>>> {
    let positions: Vec<Position> = candidates.iter().map(|candidate| candidate.position).collect();
    let galaxies: Vec<Position> = (target.galaxies.iter())
        .map(|galaxy| Position { ra_deg: galaxy.ra_deg, dec_deg: galaxy.dec_deg, distance: None })
        .collect();
    let galaxies = NearestPositions::of(&galaxies);
    let located = target.map.crossmatch(&positions)?;
    let row = |(NamedPosition { name, position }, located): (&'a NamedPosition, Located)| PositionRow {
        name,
        ra_deg: position.ra_deg,
        dec_deg: position.dec_deg,
        distance: position.distance,
        located,
        galaxies: (galaxies.to(position, NEAREST).into_iter())
            .map(|(i, separation_deg)| Neighbour { separation_deg, galaxy: &target.galaxies[i] })
            .collect(),
        map: &target.name,
    };
    Ok(candidates.iter().zip(located).map(row).collect())
}

fn print_json(out: &mut impl Write, rows: &[PositionRow<'_>]) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        writeln!(out)?;
    }
    Ok(())
}

/// A column of the CSV output, and its value in a row.
type CsvColumn = (&'static str, fn(&PositionRow<'_>) -> String);

const COLUMNS: [CsvColumn; 16] = [
    ("name", |row| row.name.to_owned()),
    ("ra_deg", |row| row.ra_deg.to_string()),
    ("dec_deg", |row| row.dec_deg.to_string()),
    ("distance_Mpc", |row| optional(row.distance)),
    ("searched_prob", |row| number(row.located.searched_prob)),
    ("searched_area_deg2", |row| number(row.located.searched_area_deg2)),
    ("prob_density_per_sr", |row| number(row.located.prob_density_per_sr)),
    ("inside_50", |row| row.located.inside_50.to_string()),
    ("inside_90", |row| row.located.inside_90.to_string()),
    ("searched_prob_vol", |row| optional(row.located.in_space.map(|found| number(found.searched_prob_vol)))),
    ("searched_vol_Mpc3", |row| optional(row.located.in_space.map(|found| number(found.searched_vol)))),
    ("prob_density_per_Mpc3", |row| optional(row.located.in_space.map(|found| number(found.prob_density)))),
    ("galaxy", |row| optional(row.galaxies.first().map(|nearest| &nearest.galaxy.name))),
    ("galaxy_rank", |row| optional(row.galaxies.first().map(|nearest| nearest.galaxy.rank))),
    ("galaxy_separation_deg", |row| optional(row.galaxies.first().map(|nearest| nearest.separation_deg))),
    ("map", |row| row.map.to_owned()),
];

/// A number as in JSON: with an exponent when it is very small or large.
fn number(value: f64) -> String {
    serde_json::Value::from(value).to_string()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn print_csv(out: &mut impl Write, rows: &[PositionRow<'_>]) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS.map(|(name, _)| name))?;
    for row in rows {
        writer.write_record(COLUMNS.map(|(_, value)| value(row)))?;
    }
    writer.flush()
}

fn print_table(out: &mut impl Write, map: &str, rows: &[PositionRow<'_>]) -> io::Result<()> {
    let mut head =
        vec!["position", "RA [°]", "Dec [°]", "inside", "searched_prob", "searched_area [deg²]", "density [sr⁻¹]"];
    let (in_space, near) =
        (rows.iter().any(|row| row.located.in_space.is_some()), rows.iter().any(|row| !row.galaxies.is_empty()));
    if in_space {
        head.extend(["D [Mpc]", "searched_prob_vol", "searched_vol [Mpc³]", "density [Mpc⁻³]"]);
    }
    if near {
        head.push("nearest ranked galaxy");
    }
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for row in rows {
        let Located { searched_prob, searched_area_deg2, prob_density_per_sr, inside_50, inside_90, .. } = row.located;
        let mut line = vec![
            row.name.escape_default().to_string(),
            format!("{:.4}", row.ra_deg),
            format!("{:.4}", row.dec_deg),
            if inside_50 {
                "50 %"
            } else if inside_90 {
                "90 %"
            } else {
                "-"
            }
            .to_owned(),
            format!("{searched_prob:.6}"),
            format!("{searched_area_deg2:.3}"),
            format!("{prob_density_per_sr:.4e}"),
        ];
        if in_space {
            let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let space = row.located.in_space;
            line.extend([
                of(row.distance.map(|distance| format!("{distance:.1}"))),
                of(space.map(|found| format!("{:.6}", found.searched_prob_vol))),
                of(space.map(|found| format!("{:.4e}", found.searched_vol))),
                of(space.map(|found| format!("{:.4e}", found.prob_density))),
            ]);
        }
        line.extend(row.galaxies.first().map(|Neighbour { separation_deg, galaxy }| {
            format!(
                "{} (rank {}, {separation_deg:.3}°, {:.0} Mpc)",
                galaxy.name.escape_default(),
                galaxy.rank + 1,
                galaxy.distance
            )
        }));
        lines.push(line);
    }
    writeln!(out, "{map}")?;
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).map(|column| width(column).unwrap_or_default()).collect();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_candidates_whatever_their_columns_are_called() {
        let text = "\u{feff}ID, note, RA ,Declination,DistMpc\nAT2017gfo,x,197.45,-23.381,40.7\n,,-10,5,\n# none\n";
        let candidate = |name: &str, ra_deg, dec_deg, distance| NamedPosition {
            name: name.to_owned(),
            position: Position { ra_deg, dec_deg, distance },
        };
        assert_eq!(
            parse_candidates(text.as_bytes()),
            Ok(vec![candidate("AT2017gfo", 197.45, -23.381, Some(40.7)), candidate("2", -10.0, 5.0, None)])
        );
    }

    #[test]
    fn names_the_row_and_column_that_is_wrong() {
        for (text, expected) in [
            ("ra,decl\n1,2\n", "column `dec`: expected it, found the columns ra, decl"),
            ("ra,dec\n1,2\n12:57:12,3\n", "row 2: column `ra`: expected degrees, found `12:57:12`"),
            ("ra,dec,dist\n1,2,far\n", "row 1: column `dist`: expected Mpc, found `far`"),
            ("ra,dec\n", "expected positions, found none"),
            ("ra,dec\n1,2,3\n", "expected CSV"),
            ("", "column `ra`"),
        ] {
            let error = parse_candidates(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
