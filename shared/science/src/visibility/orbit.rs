//! Fermi's orbit: two-line element sets (TLEs), and positions by SGP4.

use std::fmt::Write;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, Unit};
use shared::{Context, Error, Result};

use super::earth::{SpacecraftPosition, mean_sidereal_time};

/// Fermi (GLAST) in the catalogue of space objects.
pub const NORAD_ID: &str = "33053"; // https://celestrak.org/satcat/records.php?CATNR=33053
/// Limit on a text [bytes]; an archive of Fermi's whole life has 3 MB.
pub const MAX_TEXT_BYTES: usize = 8 << 20;
/// Length of both lines [bytes].
const LINE_BYTES: usize = 69; // https://celestrak.org/NORAD/documentation/tle-fmt.php
/// Plausible geocentric radii of Fermi [km]; its orbit has 6,870 to 6,950.
const RADII_KM: std::ops::Range<f64> = 6478.0..7378.0; // heights of 100 to 1,000 km

/// A two-line element set of Fermi with valid checksums and numbers.
#[derive(Debug, Clone)]
pub struct Tle {
    synthetic: bool,
    lines: [String; 2],
    epoch: Timestamp,
    constants: sgp4::Constants,
}

impl Tle {
    /// The element sets of [`Tle::parse_with_warnings`].
    ///
    /// # Errors
    /// As [`Tle::parse_with_warnings`].
    pub fn parse_all(text: &[u8]) -> Result<Vec<Self>> {
        Self::parse_with_warnings(text).map(|(sets, _)| sets)
    }

    /// Parses every element set of Fermi in a text: two or three lines each, any line ends, with or without HTML
    /// around. Sets of other spacecraft are ignored. Of several sets of Fermi, broken ones (a truncated or missing
    /// line, a wrong checksum or number, an orbit that is not Fermi's) are left out, each with a warning that names its
    /// line.
    ///
    /// # Errors
    /// Permanent: no element set in the text, none of Fermi (the error names what was found), or all of Fermi's broken
    /// (the error of the first one).
    pub fn parse_with_warnings(text: &[u8]) -> Result<(Vec<Self>, Vec<Error>)> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::permanent(format!(
                "tle: expected at most {MAX_TEXT_BYTES} bytes, found {}",
                text.len()
            )));
        }
        let text = without_markup(&String::from_utf8_lossy(text));
        let text = text.replace("\r\n", "\n");
        // Lines with their numbers in the text, from 1.
        let (numbers, lines): (Vec<usize>, Vec<&str>) =
            (1..).zip(text.split(['\n', '\r']).map(str::trim)).filter(|(_, line)| !line.is_empty()).unzip();
        let mut found = Vec::new();
        let mut broken: Vec<Error> = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for (i, first) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("1 ")) {
            let Some(second) = lines.get(i + 1).filter(|line| line.starts_with("2 ")) else {
                if first.starts_with(&format!("1 {NORAD_ID}")) {
                    let text =
                        "tle: expected two lines that begin with `1 ` and `2 `, found the first without the second";
                    broken.push(Error::permanent(text).of(format!("at line {}", numbers[i])));
                }
                continue;
            };
            let number = first.get(2..7).unwrap_or_default().trim();
            if number != NORAD_ID {
                others.push(number);
                continue;
            }
            let synthetic = i.checked_sub(1).is_some_and(|before| lines[before].contains(SYNTHETIC));
            match Tle::of_lines(synthetic, first, second) {
                Ok(set) => found.push((numbers[i], set)),
                Err(error) => broken.push(error.of(format!("at line {}", numbers[i]))),
            }
        }
        // An implausible orbit is kept only when there is no other, for its error.
        let implausible = |(number, set): &(usize, Tle)| Some((*number, set.position(set.epoch).err()?));
        let strange: Vec<(usize, Error)> = found.iter().filter_map(implausible).collect();
        if strange.len() < found.len() {
            found.retain(|(number, _)| strange.iter().all(|(strange, _)| strange != number));
            broken.extend(strange.into_iter().map(|(number, error)| error.of(format!("at line {number}"))));
        }
        if !found.is_empty() {
            return Ok((found.into_iter().map(|(_, set)| set).collect(), broken));
        }
        if !broken.is_empty() {
            return Err(broken.swap_remove(0));
        }
        others.truncate(3);
        Err(Error::permanent(match (others.is_empty(), lines.first()) {
            (false, _) => format!(
                "tle: expected Fermi, NORAD {NORAD_ID}, found NORAD {}",
                others.iter().map(|number| number.escape_default().to_string()).collect::<Vec<_>>().join(", ")
            ),
            (true, None) => "tle: expected two lines that begin with `1 ` and `2 `, found no text".to_owned(),
            (true, Some(line)) => format!(
                "tle: expected two lines that begin with `1 ` and `2 `, found `{}`",
                line.chars().take(60).collect::<String>().escape_default()
            ),
        }))
    }

    fn of_lines(synthetic: bool, first: &str, second: &str) -> Result<Self> {
        for (number, line) in [(1, first), (2, second)] {
            if line.len() != LINE_BYTES || !line.is_ascii() {
                return Err(Error::permanent(format!(
                    "tle: line {number}: expected {LINE_BYTES} characters, found {} in `{}`",
                    line.chars().count(),
                    line.chars().take(80).collect::<String>().escape_default()
                )));
            }
            let expected = char::from(b'0' + checksum(&line[..LINE_BYTES - 1]));
            if !line.ends_with(expected) {
                return Err(Error::permanent(format!(
                    "tle: line {number}: expected checksum {expected} at the end of `{}`",
                    line.escape_default()
                )));
            }
        }
        let name = format_args!("tle of NORAD {NORAD_ID}");
        let elements = sgp4::Elements::from_tle(None, first.as_bytes(), second.as_bytes()).permanent(name)?;
        let utc = elements.datetime.and_utc();
        let epoch = i32::try_from(utc.timestamp_subsec_nanos())
            .ok()
            .and_then(|nanoseconds| Timestamp::new(utc.timestamp(), nanoseconds).ok())
            .ok_or_else(|| Error::permanent(format!("{name}: expected an epoch between 1957 and 2056")))?;
        // TLEs are fitted with WGS 72: Vallado et al. 2006, doi:10.2514/6.2006-6753.
        let constants = sgp4::Constants::from_elements_afspc_compatibility_mode(&elements).permanent(name)?;
        Ok(Tle { synthetic, lines: [first.to_owned(), second.to_owned()], epoch, constants })
    }

    /// The set whose epoch is nearest to a time; the earlier one of two equally near.
    pub fn nearest(sets: impl IntoIterator<Item = Self>, time: Timestamp) -> Option<Self> {
        sets.into_iter().min_by_key(|tle| (tle.age(time).abs(), tle.epoch))
    }

    /// The epoch of the elements.
    pub fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// Time minus epoch.
    pub fn age(&self, time: Timestamp) -> SignedDuration {
        time.duration_since(self.epoch)
    }

    /// Whether this is a [`sample_tle`], not an observed orbit.
    pub fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// The set as text: a line with the name, then the two lines, each ending with a line feed.
    pub fn text(&self) -> String {
        let name = if self.synthetic { SYNTHETIC } else { NAME };
        format!("{name}\n{}\n{}\n", self.lines[0], self.lines[1])
    }

    /// Fermi's position at a time, by SGP4.
    ///
    /// # Errors
    /// Permanent, when the elements give no orbit like Fermi's (heights of 100 to 1,000 km).
    pub fn position(&self, time: Timestamp) -> Result<SpacecraftPosition> {
        let minutes = self.age(time).as_secs_f64() / 60.0;
        let implausible = |found: String| {
            Error::permanent(format!(
                "tle of NORAD {NORAD_ID} with epoch {}: expected an orbit like Fermi's at {time}, found {found}",
                epoch_name(self.epoch)
            ))
        };
        let found = self
            .constants
            .propagate_afspc_compatibility_mode(sgp4::MinutesSinceEpoch(minutes))
            .map_err(|error| implausible(error.to_string()))?;
        let [x, y, z] = found.position;
        let radius = x.hypot(y).hypot(z);
        if !RADII_KM.contains(&radius) {
            return Err(implausible(format!("a geocentric radius of {radius:.0} km")));
        }
        Ok(SpacecraftPosition::of_teme(found.position, time))
    }
}

/// An epoch as in the name of a kept TLE: `2023-05-20T12:00:00`, UTC, to the nearest second (a TLE has 864 µs).
pub fn epoch_name(epoch: Timestamp) -> String {
    Offset::UTC.to_datetime(epoch.round(Unit::Second).unwrap_or(epoch)).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Parses an [`epoch_name`].
pub fn parse_epoch_name(name: &str) -> Option<Timestamp> {
    let time: DateTime = name.parse().ok()?;
    let epoch = Offset::UTC.to_timestamp(time).ok()?;
    (epoch_name(epoch) == name).then_some(epoch)
}

/// The name of Fermi in the catalogues.
const NAME: &str = "FGRST (GLAST)";
/// The name in a [`sample_tle`].
const SYNTHETIC: &str = "FGRST (GLAST) SYNTHETIC, NOT AN OBSERVED ORBIT";

/// A synthetic TLE with an orbit like Fermi's (535 km, 25.6°) at an epoch of the years 1957 to 2056, for trying this
/// software without a network. At its epoch the spacecraft is over the equator at 100° E, far from the anomaly, going
/// north. Its first line marks it as synthetic.
pub fn sample_tle(epoch: Timestamp) -> String {
    let utc = Offset::UTC.to_datetime(epoch);
    let day_ns = i64::from(utc.hour()) * 3_600_000_000_000
        + i64::from(utc.minute()) * 60_000_000_000
        + i64::from(utc.second()) * 1_000_000_000
        + i64::from(utc.subsec_nanosecond());
    // The field has eight digits, in units of 864 µs; the rest is truncated.
    let (year, day, fraction) = (utc.year().rem_euclid(100), utc.day_of_year(), day_ns / 864_000);
    // Perigee at 210.3° and a mean anomaly of 149.7°: at the epoch the spacecraft is at its node.
    let node = (mean_sidereal_time(epoch).to_degrees() + 100.0).rem_euclid(360.0).min(359.9999);
    let mut text = format!("{SYNTHETIC}\n");
    for line in [
        format!("1 {NORAD_ID}U 08029A   {year:02}{day:03}.{fraction:08}  .00002500  00000-0  90000-4 0  999"),
        format!("2 {NORAD_ID}  25.5820 {node:8.4} 0010500 210.3000 149.7000 15.18200000    1"),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}{}", checksum(&line));
    }
    text
}

/// The last digit of a line: the sum of its digits modulo ten, with 1 for a minus sign.
fn checksum(line: &str) -> u8 {
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'-' => 1,
        _ => 0,
    };
    (line.bytes().map(value).sum::<u32>() % 10) as u8
}

/// The text with every `<…>` replaced by a line end. An unclosed `<` is kept.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        plain.push_str(before);
        match after.split_once('>') {
            Some((_, after)) => {
                plain.push('\n');
                rest = after;
            }
            None => {
                plain.push('<');
                plain.push_str(after);
                rest = "";
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // A synthetic orbit like Fermi's, checksums right.
    const FIRST: &str = "1 33053U 08029A   23140.50000000  .00005500  00000-0  17000-3 0  9999";
    const SECOND: &str = "2 33053  25.5820 120.4500 0010500 210.3000 149.6500 15.22500000825007";
    // The ISS, from the documentation of the sgp4 crate.
    const OTHER: &str = "1 25544U 98067A   20194.88612269 -.00002218  00000-0 -31515-4 0  9992\n\
                         2 25544  51.6461 221.2784 0001413  89.1723 280.4612 15.49507896236008\n";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn read(text: &str) -> Result<Tle> {
        Tle::parse_all(text.as_bytes()).map(|mut sets| sets.remove(0))
    }

    #[test]
    fn parses_tles_in_every_format() {
        let plain = read(&format!("{FIRST}\n{SECOND}\n")).expect("a TLE");
        assert_eq!(plain.epoch(), time("2023-05-20T12:00:00Z"));
        let at = time("2023-05-20T13:00:00Z");
        for text in [
            format!("{FIRST}\r\n{SECOND}\r\n"),
            format!("FGRST (GLAST)           \r\n{FIRST}\r\n{SECOND}"),
            format!("0 FGRST (GLAST)\n{FIRST}\n{SECOND}\n"),
            format!("<html><body><pre>FGRST (GLAST)\n{FIRST}\n{SECOND}\n</pre></body></html>"),
            format!("<pre>{FIRST}<br>{SECOND}</pre>"),
            format!("<p>1 < 2</p>\n\n  {FIRST}  \n\n  {SECOND}\t\n <"),
            format!("\u{feff}FGRST (GLAST)\n{FIRST}\n{SECOND}\n"),
            format!("{OTHER}FGRST (GLAST)\n{FIRST}\n{SECOND}\n{OTHER}"),
        ] {
            let tle = read(&text).expect(&text);
            assert_eq!(tle.position(at), plain.position(at));
            assert_eq!(tle.text(), format!("FGRST (GLAST)\n{FIRST}\n{SECOND}\n"), "{text}");
        }
    }

    #[test]
    fn nearest_picks_from_an_archive() {
        let archive: String = (1..=20).map(|day| sample_tle(time(&format!("2023-05-{day:02}T06:00:00Z")))).collect();
        let sets = Tle::parse_all(archive.as_bytes()).expect("an archive");
        assert_eq!(sets.len(), 20);
        let nearest = |at: &str| Tle::nearest(sets.clone(), time(at)).expect("one").epoch();
        assert_eq!(nearest("2023-05-07T09:00:00Z"), time("2023-05-07T06:00:00Z"));
        assert_eq!(nearest("2023-05-07T19:00:00Z"), time("2023-05-08T06:00:00Z"));
        assert_eq!(nearest("2023-05-07T18:00:00Z"), time("2023-05-07T06:00:00Z"));
        assert_eq!(nearest("1999-01-01T00:00:00Z"), time("2023-05-01T06:00:00Z"));
        assert!(Tle::nearest([], time("2023-05-07T09:00:00Z")).is_none());
    }

    #[test]
    fn warns_of_broken_sets_with_their_line() {
        let flipped = FIRST.replace("23140.5", "23139.5");
        let high = (SECOND.replace("15.22500000", "11.22500000").replace("825007", "825003"), "geocentric radius");
        for (broken, second, expected) in [
            (&FIRST[..60], SECOND, "at line 2: tle: line 1: expected 69 characters"),
            (FIRST, &SECOND[..40], "at line 2: tle: line 2: expected 69 characters"),
            (&flipped, SECOND, "at line 2: tle: line 1: expected checksum"),
            (FIRST, "", "at line 2: tle: expected two lines"),
            (FIRST, &SECOND.replace("2 33053", "2 33035"), "at line 2"),
            (FIRST, &high.0, high.1),
        ] {
            for (archive, count) in [
                (format!("FGRST (GLAST)\n{broken}\n{second}\n\n{FIRST}\n{SECOND}\n"), 1),
                (format!("\r\n{broken}\r\n{second}\r\n{FIRST}\r\n{SECOND}\r\n{broken}\r\n{second}\r\n"), 2),
            ] {
                let (sets, warnings) = Tle::parse_with_warnings(archive.as_bytes()).expect(expected);
                assert_eq!(sets.len(), 1, "{archive}");
                assert_eq!(sets[0].text(), format!("FGRST (GLAST)\n{FIRST}\n{SECOND}\n"));
                assert!(warnings[0].to_string().contains(expected), "{expected}: {warnings:?}");
                assert_eq!(warnings.len(), count, "{warnings:?}");
            }
        }
    }

    #[test]
    fn rejects_texts_without_a_tle_of_fermi() {
        let swapped = FIRST.replace("23140.5", "23141.5");
        let short = &SECOND[..68];
        let words = FIRST.replace(".00005500", ".0000x500");
        let far = SECOND.replace("15.22500000", "11.22500000").replace("825007", "825003");
        for (text, expected) in [
            (String::new(), "no text"),
            ("<html><body>No GP data found</body></html>".to_owned(), "No GP data found"),
            (OTHER.to_owned(), "found NORAD 25544"),
            (format!("{swapped}\n{SECOND}"), "line 1: expected checksum 0"),
            (format!("{FIRST}\n{short}"), "line 2: expected 69 characters, found 68"),
            (format!("{FIRST}\n{FIRST}"), "expected two lines"),
            (format!("{SECOND}\n{FIRST}"), "expected two lines"),
            (format!("{FIRST}\n{}", SECOND.replace("2 33053", "2 33035")), "NORAD 33053"),
            (format!("{words}\n{SECOND}"), "checksum"),
            ("\u{0}\u{1}1 \u{fffd}".repeat(100), "expected two lines"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(!error.is_retryable());
        }
        let far = read(&format!("{FIRST}\n{far}")).expect("well-formed");
        let error = far.position(time("2023-05-20T13:00:00Z")).expect_err("too high");
        assert!(error.to_string().contains("geocentric radius of 8"), "{error}");
    }

    #[test]
    fn sample_tle_is_like_fermis_and_marked_synthetic() {
        for epoch in ["2023-05-18T12:59:08.999999999Z", "2024-12-31T23:59:59.999999999Z", "2056-01-01T00:00:00Z"] {
            let tle = read(&sample_tle(time(epoch))).expect("a TLE");
            assert!(tle.is_synthetic() && tle.text().starts_with("FGRST (GLAST) SYNTHETIC"));
            assert!(tle.age(time(epoch)).as_secs_f64().abs() < 1e-3, "{epoch}: {}", tle.epoch());
            assert_eq!(tle.text(), sample_tle(time(epoch)));
            let start = tle.position(tle.epoch()).expect("a position");
            assert!((start.longitude - 100.0).abs() < 0.2 && start.latitude.abs() < 0.2, "{start:?}");
            for i in 0..48 {
                let position = tle.position(time(epoch) + SignedDuration::from_mins(i * 37)).expect("a position");
                assert!((500.0..580.0).contains(&position.height_km), "{position:?}");
                assert!(position.latitude.abs() < 25.7);
            }
        }
        assert!(!read(&format!("{FIRST}\n{SECOND}")).expect("a TLE").is_synthetic());
    }

    #[test]
    fn bundled_tle_is_the_sample_and_outside_the_anomaly() {
        let bundled = std::fs::read_to_string("../../events/fermi.tle").expect("the bundled orbit");
        assert_eq!(bundled, sample_tle(time("2009-01-06T00:00:00Z")));
        let at = time("2009-01-01T00:00:00Z");
        let position = read(&bundled).and_then(|tle| tle.position(at)).expect("a position");
        assert!(!super::super::saa::is_inside(&position, at), "{position:?}");
    }

    #[test]
    fn epoch_names_round_trip() {
        let epoch = time("2023-05-20T11:59:59.999994Z");
        assert_eq!(epoch_name(epoch), "2023-05-20T12:00:00");
        assert_eq!(parse_epoch_name("2023-05-20T12:00:00"), Some(time("2023-05-20T12:00:00Z")));
        for name in ["2023-05-20", "2023-05-20 12:00:00", "x", "2023-05-20T12:00:00.5", "2023-13-20T12:00:00", ""] {
            assert_eq!(parse_epoch_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn valid_sets_survive_junk_lines(
            junk in prop::collection::vec("(1 33053|2 33053|1 25544|#|<b>)?[ -;=?-~]{0,70}", 0..6),
            places in prop::collection::vec(any::<bool>(), 6),
        ) {
            let mut archive = String::new();
            for (junk, place) in junk.iter().zip(places) {
                let sample = sample_tle(time("2023-05-01T06:00:00Z"));
                archive += &if place { format!("{sample}{junk}\n") } else { format!("{junk}\n") };
            }
            // Junk that begins like a second line must not hide the valid set.
            archive += &format!("{FIRST}\n{SECOND}\n");
            let sets = Tle::parse_all(archive.as_bytes()).expect("a good set");
            prop_assert_eq!(Tle::nearest(sets, time("2023-05-20T12:00:00Z")).expect("one").epoch(), time("2023-05-20T12:00:00Z"));
        }

        #[test]
        fn no_text_panics(text in "(1 33053|2 33053|[0-9 .<>\\-\nUA]){0,60}") {
            let _ = Tle::parse_all(text.as_bytes());
        }

        #[test]
        fn no_field_panics(
            line in 0_usize..2, at in 8_usize..62, with in "[0-9 .+\\-einfaN]{1,6}", days in -9000_i64..9000,
        ) {
            let mut lines = [FIRST[..68].to_owned(), SECOND[..68].to_owned()];
            lines[line].replace_range(at..at + with.len(), &with);
            let [first, second] = lines.map(|line| format!("{line}{}", checksum(&line)));
            if let Ok(sets) = Tle::parse_all(format!("{first}\n{second}").as_bytes()) {
                let position = sets[0].position(sets[0].epoch() + SignedDuration::from_hours(days * 24));
                if let Ok(position) = position {
                    prop_assert!(position.earth().radius.is_finite() && position.latitude.is_finite());
                }
            }
        }
    }
}
