//! Swift's pointing: a file of pointings.
//!
//! ```csv
//! start,end,ra,dec,roll
//! 2023-05-18T12:31:02Z,2023-05-18T12:59:58Z,187.7059,12.3911,281.7
//! ```
//!
//! Comma-separated rows, one pointing each: start and exclusive end (ISO 8601 with an offset, `Z` for UTC), the
//! boresight's right ascension and declination, ICRS \[deg\], and the roll \[deg\] as in Swift's schedules and in PA_PNT of
//! its FITS headers (see [`super::bat`]). Rows in any order; rows that start with `start` or `#` and empty rows are
//! ignored. Slews have no row.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use shared::{Error, Result};

/// Limit on a file [bytes]; a year of pointings has about 3 MB.
pub const MAX_FILE_BYTES: usize = 32 << 20;
/// Limit on the rows of a file.
const MAX_ROWS: usize = 400_000;

/// One pointing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pointing {
    /// Start, inclusive.
    pub start: Timestamp,
    /// End, exclusive.
    pub end: Timestamp,
    /// Right ascension of the boresight, ICRS \[deg\].
    pub ra: f64,
    /// Declination of the boresight, ICRS \[deg\].
    pub dec: f64,
    /// The roll, the position angle of the spacecraft's Z axis \[deg\].
    pub roll: f64,
}

/// Reads a file of pointings.
///
/// # Errors
/// Permanent, naming the line: too large, no UTF-8 text, not five fields, an invalid time, a number out of range, an
/// end before its start, or no pointing at all.
pub fn read(bytes: &[u8]) -> Result<Vec<Pointing>> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::permanent(format!("expected at most {MAX_FILE_BYTES} bytes, found {}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Error::permanent("expected UTF-8 text of pointings"))?;
    let mut pointings = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let is_heading = line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start"));
        if line.is_empty() || line.starts_with('#') || is_heading {
            continue;
        }
        if pointings.len() == MAX_ROWS {
            return Err(Error::permanent(format!("expected at most {MAX_ROWS} pointings, found more")));
        }
        pointings.push(row(line).map_err(|error| error.of(format!("line {}", i + 1)))?);
    }
    if pointings.is_empty() {
        return Err(Error::permanent("expected rows of `start,end,ra,dec,roll`, found none"));
    }
    Ok(pointings)
}

fn row(line: &str) -> Result<Pointing> {
    let fields: Vec<&str> = line.splitn(7, ',').map(str::trim).collect();
    let [start, end, ra, dec, roll] = fields.as_slice() else {
        return Err(Error::permanent(format!(
            "expected the five fields `start,end,ra,dec,roll`, found `{}`",
            shown(line)
        )));
    };
    let pointing = Pointing {
        start: time("start", start)?,
        end: time("end", end)?,
        ra: number("ra", ra, -360.0..=360.0)?,
        dec: number("dec", dec, -90.0..=90.0)?,
        roll: number("roll", roll, -360.0..=360.0)?,
    };
    if pointing.end <= pointing.start {
        return Err(Error::permanent(format!(
            "expected an end after the start {}, found {}",
            pointing.start, pointing.end
        )));
    }
    Ok(pointing)
}

fn time(name: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| {
        Error::permanent(format!("`{name}`: expected a time such as `2023-05-18T12:31:02Z`, found `{}`", shown(text)))
    })
}

fn number(name: &str, text: &str, range: RangeInclusive<f64>) -> Result<f64> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (from, to) = (range.start(), range.end());
        Error::permanent(format!("`{name}`: expected a number from {from} to {to} [deg], found `{}`", shown(text)))
    })
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_default().to_string()
}

/// The pointing that covers a time; of several, the one that started last, because a later plan replaces an earlier
/// one.
///
/// # Errors
/// Permanent, naming the nearest pointing, when none covers it: Swift was slewing, or the file is for another time.
pub fn at(pointings: &[Pointing], time: Timestamp) -> Result<Pointing> {
    let covering = pointings.iter().filter(|pointing| pointing.start <= time && time < pointing.end);
    if let Some(pointing) = covering.max_by_key(|pointing| pointing.start) {
        return Ok(*pointing);
    }
    let away = |pointing: &Pointing| {
        if time < pointing.start { pointing.start.duration_since(time) } else { time.duration_since(pointing.end) }
    };
    Err(Error::permanent(match pointings.iter().min_by_key(|pointing| away(pointing)) {
        Some(nearest) => format!(
            "expected a pointing at {time}, found none; the nearest, from {} to {}, is {} away",
            nearest.start,
            nearest.end,
            rounded(away(nearest))
        ),
        None => format!("expected a pointing at {time}, found none"),
    }))
}

/// A rounded duration.
fn rounded(duration: SignedDuration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "\u{feff}start,end,ra,dec,roll\r\n\
        # a plan\r\n\
        2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,20,30\r\n\
        \r\n\
        2023-05-18T12:58:00Z , 2023-05-18T13:20:00+00:00 , 187.70593 , -12.39112 , 281.7\r\n\
        2023-05-18T12:59:00.5Z,2023-05-18T13:10:00Z,-1.5,90,-90\r\n";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn found(at_time: &str) -> Result<(f64, f64, f64)> {
        let pointings = read(FILE.as_bytes()).expect("pointings");
        at(&pointings, time(at_time)).map(|pointing| (pointing.ra, pointing.dec, pointing.roll))
    }

    #[test]
    fn finds_the_pointing_at_a_time() {
        assert_eq!(found("2023-05-18T12:00:00Z"), Ok((10.0, 20.0, 30.0)));
        assert_eq!(found("2023-05-18T12:29:59.999Z"), Ok((10.0, 20.0, 30.0)));
        assert_eq!(found("2023-05-18T12:58:30Z"), Ok((187.70593, -12.39112, 281.7)));
        // Two cover it: the later plan.
        assert_eq!(found("2023-05-18T12:59:08.153968Z"), Ok((-1.5, 90.0, -90.0)));
        assert_eq!(found("2023-05-18T13:15:00Z"), Ok((187.70593, -12.39112, 281.7)));
    }

    #[test]
    fn names_the_nearest_pointing_of_an_uncovered_time() {
        for (at, expected) in [
            ("2023-05-18T12:30:00Z", "from 2023-05-18T12:00:00Z to 2023-05-18T12:30:00Z, is 0 s away"),
            ("2023-05-18T12:55:00Z", "from 2023-05-18T12:58:00Z to 2023-05-18T13:20:00Z, is 3 min away"),
            ("2023-05-18T18:20:00Z", "is 5 h away"),
            ("2026-05-18T13:20:00Z", "is 1096 days away"),
        ] {
            let error = found(at).expect_err("none").to_string();
            assert!(error.starts_with(&format!("expected a pointing at {at}, found none")), "{error}");
            assert!(error.ends_with(expected), "{error}");
        }
        assert!(at(&[], time("2023-05-18T12:30:00Z")).is_err());
    }

    #[test]
    fn rejects_bad_files_with_the_reason() {
        let good = "2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,20,30\n";
        let too_many = good.repeat(MAX_ROWS + 1);
        for (text, expected) in [
            ("", "expected rows of `start,end,ra,dec,roll`, found none"),
            ("start,end,ra,dec,roll\n", "found none"),
            ("<html>We have moved.</html>", "line 1: expected the five fields"),
            ("\n2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,20\n", "line 2: expected the five fields"),
            ("2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,20,30,40", "line 1: expected the five fields"),
            ("2023-05-18,2023-05-18T12:30:00Z,10,20,30", "`start`: expected a time such as"),
            ("2023-05-18T12:00:00Z,2023-05-18T12:30:00,10,20,30", "`end`: expected a time such as"),
            ("2023-05-18T12:00:00Z,2023-05-18T12:00:00Z,10,20,30", "expected an end after the start"),
            (
                "2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,NaN,20,30",
                "`ra`: expected a number from -360 to 360 [deg], found `NaN`",
            ),
            ("2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,90.1,30", "`dec`: expected a number from -90 to 90"),
            ("2023-05-18T12:00:00Z,2023-05-18T12:30:00Z,10,20,inf", "`roll`: expected a number"),
            (&too_many, "expected at most 400000 pointings"),
        ] {
            let error = read(text.as_bytes()).expect_err("an error").to_string();
            assert!(error.contains(expected) && error.len() < 300, "{error}");
        }
        assert!(read(&[0xff, 0xfe]).expect_err("no text").to_string().contains("UTF-8"));
        assert!(read(&vec![b' '; MAX_FILE_BYTES + 1]).expect_err("too large").to_string().contains("at most"));
    }

    proptest! {
        #[test]
        fn pointings_round_trip(
            start in 0_i64..4_000_000_000, length in 1_i64..100_000, ra in -360.0..360.0, dec in -90.0..90.0, roll in 0.0..360.0,
        ) {
            let at_second = |second| Timestamp::from_second(second).expect("a time");
            let pointing = Pointing { start: at_second(start), end: at_second(start + length), ra, dec, roll };
            let text = format!("{},{},{ra},{dec},{roll}", pointing.start, pointing.end);
            let pointings = read(text.as_bytes()).expect("a pointing");
            prop_assert_eq!(&pointings, &[pointing]);
            prop_assert_eq!(at(&pointings, at_second(start + length - 1)), Ok(pointing));
            prop_assert!(at(&pointings, at_second(start + length)).is_err());
            prop_assert!(at(&pointings, at_second(start - 1)).is_err());
        }

        #[test]
        fn any_text_gives_pointings_or_an_error(text in "[0-9T:Z,.#\n -]{0,200}|.{0,100}") {
            let _ = read(text.as_bytes());
        }
    }
}
