//! Fermi's weekly spacecraft files (FT2): LAT's pointing, and whether it takes data.

use jiff::civil::{Date, date};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan};
use shared::{Error, Result};

use crate::fits::Table;

/// Limit on a listing [bytes]; a thousand weeks have 0.5 MB.
pub const MAX_LISTING_BYTES: usize = 8 << 20;
/// Limit on a file [bytes]; real ones have 1 to 3 MB.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// Largest distance of the nearest row's START from the event [s]; rows are 30 or 60 s long.
const MAX_GAP_S: f64 = 90.0;
/// Distance to the end of a week within which the neighbouring week's file is a candidate too.
const WEEK_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// 2001-01-01T00:00:00Z, mission elapsed time (MET) 0 [s since 1970].
const MET_0_UNIX_S: i64 = 978_307_200;
/// The UTC days since 2001 that began after a leap second: IERS Bulletin C 30, 36, 43, 49, 52; none since.
const AFTER_LEAP_SECONDS: [Date; 5] =
    [date(2006, 1, 1), date(2009, 1, 1), date(2012, 7, 1), date(2015, 7, 1), date(2017, 1, 1)];

/// The first day of the mission's week 781; weeks begin on Thursdays, at 00:00 UTC.
const WEEK_781: (u32, Date) = (781, date(2023, 5, 18));

/// The name of a weekly file: planned, `FERMI_POINTING_{FINAL|PRELIM}_{week}_{first day}_{end day}_{version}.fits`,
/// days as year and day of the year, such as `FERMI_POINTING_FINAL_782_2023145_2023152_00.fits`; or measured,
/// `lat_spacecraft_weekly_w{week}_p{processing}_v{version}.fits`, such as `lat_spacecraft_weekly_w782_p310_v001.fits`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The first day, UTC.
    pub from: Date,
    /// The day after the last, UTC.
    pub to: Date,
    /// Whether this is the final plan of the week, or measured.
    pub is_final: bool,
    /// Whether this is measured rather than planned.
    pub is_measured: bool,
    /// Processing of a measured file; a later one replaces an earlier one.
    pub processing: u32,
    /// Version; a later one replaces an earlier one.
    pub version: u32,
    /// Weeks since launch.
    pub week: u32,
    /// The file's name.
    pub name: String,
}

impl FileName {
    /// Parses a name; `None` for anything else.
    pub fn parse(name: &str) -> Option<Self> {
        FileName::measured(name).or_else(|| FileName::planned(name))
    }

    fn measured(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("lat_spacecraft_weekly_w")?.strip_suffix(".fits")?.split('_');
        let week = number(parts.next()?, 3..=5)?;
        let processing = number(parts.next()?.strip_prefix('p')?, 1..=4)?;
        let version = number(parts.next()?.strip_prefix('v')?, 1..=4)?;
        if parts.next().is_some() {
            return None;
        }
        let weeks = i64::from(week) - i64::from(WEEK_781.0);
        let from = WEEK_781.1.checked_add(weeks.weeks()).ok()?;
        let to = from.checked_add(1.week()).ok()?;
        let name = name.to_owned();
        Some(FileName { from, to, is_final: true, is_measured: true, processing, version, week, name })
    }

    fn planned(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("FERMI_POINTING_")?.strip_suffix(".fits")?.split('_');
        let is_final = match parts.next()? {
            "FINAL" => true,
            "PRELIM" => false,
            _ => return None,
        };
        let week = number(parts.next()?, 1..=5)?;
        let (from, to) = (day(parts.next()?)?, day(parts.next()?)?);
        let version = number(parts.next()?, 1..=4)?;
        if parts.next().is_some() || from >= to {
            return None;
        }
        let name = name.to_owned();
        Some(FileName { from, to, is_final, is_measured: false, processing: 0, version, week, name })
    }

    fn covers(&self, time: Timestamp) -> bool {
        (self.from..self.to).contains(&Offset::UTC.to_datetime(time).date())
    }
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

/// `2023145`: year and day of the year.
fn day(text: &str) -> Option<Date> {
    number(text, 7..=7)?;
    let (year, day) = text.split_at(4);
    date(year.parse().ok()?, 1, 1).with().day_of_year(day.parse().ok()?).build().ok()
}

/// Every name of a weekly file in a page, without duplicates.
pub fn listing(page: &[u8]) -> Vec<FileName> {
    let page = String::from_utf8_lossy(page);
    let mut names: Vec<FileName> = ["FERMI_POINTING_", "lat_spacecraft_weekly_"]
        .iter()
        .flat_map(|beginning| page.match_indices(beginning))
        .filter_map(|(at, _)| {
            let rest = &page[at..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))?;
            FileName::parse(&rest[..end])
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The files to try for the pointing at a time, best first: the week's measured file, else its final plan, else its
/// newest preliminary one; then, within five minutes of the week's end or beginning, the neighbouring week's by the
/// same rule (the rows of a file do not begin at midnight sharp).
pub fn candidates(names: &[FileName], time: Timestamp) -> Vec<FileName> {
    let mut files: Vec<FileName> = Vec::new();
    for at in [time, time.saturating_sub(WEEK_MARGIN).unwrap_or(time), time.saturating_add(WEEK_MARGIN).unwrap_or(time)]
    {
        let best = names
            .iter()
            .filter(|file| file.covers(at))
            .max_by_key(|file| (file.is_measured, file.is_final, file.processing, file.version));
        files.extend(best.filter(|best| !files.contains(best)).cloned());
    }
    files
}

/// The rows of a weekly file.
#[derive(Debug, Clone)]
pub struct Pointings {
    /// MET [s] and the direction of LAT's axis (RA_SCZ, DEC_SCZ), ICRS [deg].
    rows: Vec<(f64, f64, f64)>,
    /// Data-taking state of each row.
    states: Vec<State>,
    counts_leap_seconds: bool,
}

/// Data-taking state of a row; a missing column is `None`.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// STOP, MET [s].
    stop: Option<f64>,
    /// IN_SAA.
    in_saa: Option<bool>,
    /// LIVETIME [s].
    live_time: Option<f64>,
    /// LAT_CONFIG: 1 is the configuration for science.
    lat_config: Option<f64>,
    /// DATA_QUAL: above 0 is usable.
    data_qual: Option<f64>,
}

/// Largest gap between consecutive rows that counts as rounding [s]; a longer gap has no data.
const ROUNDING_S: f64 = 1.0;

impl Pointings {
    /// Reads START, RA_SCZ and DEC_SCZ of a file's first table and, where it has them, STOP, IN_SAA, LIVETIME, LAT_CONFIG
    /// and DATA_QUAL.
    ///
    /// START is in MET, seconds since 2001-01-01 UTC. Fermi's clock counts leap seconds, which its files mark with
    /// `TIMESYS = 'TT'`; without it, every UTC day has 86,400 s.
    ///
    /// # Errors
    /// Permanent: no FITS table, a column missing, no row.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let table = Table::open_up_to(bytes, MAX_FILE_BYTES as u64)?;
        let (starts, ra, dec) = (table.f64s("START")?, table.f64s("RA_SCZ")?, table.f64s("DEC_SCZ")?);
        let rows: Vec<_> = starts.into_iter().zip(ra).zip(dec).map(|((start, ra), dec)| (start, ra, dec)).collect();
        if rows.is_empty() {
            return Err(Error::permanent("spacecraft file: expected rows, found none"));
        }
        let counts_leap_seconds = table.header_str("TIMESYS").is_some_and(|system| system.trim() == "TT");
        let states = states(&table, rows.len())?;
        Ok(Pointings { rows, states, counts_leap_seconds })
    }

    /// The reason why LAT takes no data at a time [MET, s], if the file has one.
    fn no_data_reason(&self, met: f64, time: Timestamp) -> Option<Error> {
        let begun = |(start, _, _): &(f64, f64, f64)| *start <= met + ROUNDING_S;
        let rows = self.rows.iter().zip(&self.states).filter(|(row, _)| begun(row));
        let latest = rows.max_by(|(one, _), (other, _)| one.0.total_cmp(&other.0));
        let has_stops = self.states.iter().any(|state| state.stop.is_some());
        let covers = |state: &State| state.stop.is_none_or(|stop| met < stop + ROUNDING_S);
        let Some((_, state)) = latest.filter(|(_, state)| covers(state)) else {
            let text = "spacecraft file: no data at this time: no row has it between START and STOP";
            return has_stops.then(|| Error::permanent(format!("{text} (MET {met:.0}, {time})")));
        };
        let reason = match *state {
            State { in_saa: Some(true), .. } => "Fermi was in the South Atlantic Anomaly (IN_SAA)".to_owned(),
            State { live_time: Some(live), .. } if live <= 0.0 => format!("LAT took no data (LIVETIME is {live} s)"),
            State { lat_config: Some(config), .. } if config <= 0.0 => {
                format!("LAT was not configured to take data (LAT_CONFIG is {config})")
            }
            State { data_qual: Some(quality), .. } if quality <= 0.0 => {
                format!("LAT's data are not usable (DATA_QUAL is {quality})")
            }
            _ => return None,
        };
        Some(Error::permanent(reason))
    }

    /// The direction of LAT's axis, (right ascension, declination), ICRS \[deg\], in the row whose START is nearest to a
    /// time: the directions in a file are those at START.
    ///
    /// # Errors
    /// Permanent: no row within 90 s, that row holds no direction, or LAT took no data: the time is in no row's START
    /// to STOP, or its row has IN_SAA, a LIVETIME of 0, or a LAT_CONFIG or DATA_QUAL of 0.
    pub fn at(&self, time: Timestamp) -> Result<(f64, f64)> {
        let met = mission_elapsed_time(time, self.counts_leap_seconds);
        let gap = |start: f64| (start - met).abs();
        let nearest =
            self.rows.iter().filter(|(start, ..)| start.is_finite()).min_by(|a, b| gap(a.0).total_cmp(&gap(b.0)));
        match nearest {
            Some(&(start, ra, dec)) if gap(start) <= MAX_GAP_S => {
                if let Some(reason) = self.no_data_reason(met, time) {
                    return Err(reason);
                }
                if (0.0..=360.0).contains(&ra) && (-90.0..=90.0).contains(&dec) {
                    return Ok((ra, dec));
                }
                Err(Error::permanent(format!(
                    "spacecraft file: expected a direction in the row of MET {start}, found RA_SCZ {ra}, DEC_SCZ {dec}"
                )))
            }
            Some((start, ..)) => Err(Error::permanent(format!(
                "spacecraft file: expected a row within {MAX_GAP_S} s of MET {met:.0} ({time}), the nearest is of MET {start:.0}"
            ))),
            None => Err(Error::permanent("spacecraft file: expected times in column `START`, found none")),
        }
    }
}

fn states(table: &Table, rows: usize) -> Result<Vec<State>> {
    let numbers = |name: &str| match table.has(name) {
        true => Ok(table.f64s(name)?.into_iter().map(|number| Some(number).filter(|n| n.is_finite())).collect()),
        false => Ok::<Vec<Option<f64>>, Error>(vec![None; rows]),
    };
    // A plan may fill these columns with zeros throughout; then they are unknown.
    let filled = |column: Vec<Option<f64>>| {
        let is_filled = column.iter().flatten().any(|number| *number > 0.0);
        if is_filled { column } else { vec![None; rows] }
    };
    let in_saa: Vec<Option<bool>> = match table.has("IN_SAA") {
        // Most files have a logical column, some a number.
        true => table.bools("IN_SAA").or_else(|error| {
            let as_number = table.f64s("IN_SAA").map_err(|_| error)?;
            Ok::<_, Error>(as_number.into_iter().map(|n| n.is_finite().then_some(n != 0.0)).collect())
        })?,
        false => vec![None; rows],
    };
    let columns = [numbers("STOP")?, numbers("LIVETIME")?];
    let [lat_config, data_qual] = [filled(numbers("LAT_CONFIG")?), filled(numbers("DATA_QUAL")?)];
    let state = |row: usize| State {
        stop: columns[0][row],
        in_saa: in_saa[row],
        live_time: columns[1][row],
        lat_config: lat_config[row],
        data_qual: data_qual[row],
    };
    Ok((0..rows).map(state).collect())
}

/// Seconds since 2001-01-01T00:00:00 UTC, with or without the leap seconds in between.
fn mission_elapsed_time(time: Timestamp, counts_leap_seconds: bool) -> f64 {
    let day = Offset::UTC.to_datetime(time).date();
    let leaps = AFTER_LEAP_SECONDS.iter().filter(|after| **after <= day).count();
    let seconds = (time.as_second() - MET_0_UNIX_S) as f64 + f64::from(time.subsec_nanosecond()) * 1e-9;
    if counts_leap_seconds { seconds + leaps as f64 } else { seconds }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn names(text: &str) -> Vec<String> {
        listing(text.as_bytes()).into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn parses_file_names() {
        let file = FileName::parse("FERMI_POINTING_FINAL_174_2011272_2011279_02.fits").expect("a name");
        assert_eq!((file.from, file.to), (date(2011, 9, 29), date(2011, 10, 6)));
        assert_eq!((file.is_final, file.version, file.week), (true, 2, 174));
        let prelim = FileName::parse("FERMI_POINTING_PRELIM_1042_2028150_2028157_10.fits").expect("a name");
        assert_eq!((prelim.is_final, prelim.version, prelim.week), (false, 10, 1042));
        for name in [
            "",
            "FERMI_POINTING_FINAL_174_2011272_2011279_02.fits.sig",
            "FERMI_POINTING_DRAFT_174_2011272_2011279_02.fits",
            "FERMI_POINTING_FINAL_174_2011272_2011279.fits",
            "FERMI_POINTING_FINAL_174_2011279_2011272_02.fits",
            "FERMI_POINTING_FINAL_174_2011000_2011007_02.fits",
            "FERMI_POINTING_FINAL_174_2011360_2011366_02.fits",
            "FERMI_POINTING_FINAL_174_+201127_2011279_02.fits",
            "FERMI_POINTING_FINAL_174_2011272_2011279_02_1.fits",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn finds_file_names_in_any_page() {
        // As Apache writes an index.
        let page = r#"<pre><img src="/icons/blank.gif" alt="Icon "> <a href="?C=N;O=D">Name</a> <hr>
<a href="/ssc/observations/timeline/ft2/">Parent Directory</a>
<img src="/icons/unknown.gif" alt="[   ]"> <a href="FERMI_POINTING_FINAL_780_2023131_2023138_00.fits">FERMI_POINTING_FINAL_780_2023131_2023138_00.fits</a> 2023-05-05 13:19  970K
<img src="/icons/unknown.gif" alt="[   ]"> <a href="FERMI_POINTING_PRELIM_781_2023138_2023145_01.fits">FERMI_POINTING_PRELIM_7..&gt;</a> 2023-05-05 13:19  970K
</pre>"#;
        let expected =
            ["FERMI_POINTING_FINAL_780_2023131_2023138_00.fits", "FERMI_POINTING_PRELIM_781_2023138_2023145_01.fits"];
        assert_eq!(names(page), expected);
        assert_eq!(names(&format!("{}\r\n{}\r\n", expected[1], expected[0])), expected);
        assert_eq!(names("<html><body>We have moved. FERMI_POINTING_ FERMI_POINTING_é.fits</body></html>"), [""; 0]);
    }

    #[test]
    fn prefers_final_files_to_preliminary_ones() {
        let files = |names: &[&str]| -> Vec<FileName> {
            names.iter().map(|name| FileName::parse(&format!("FERMI_POINTING_{name}.fits")).expect(name)).collect()
        };
        let chosen = |names: &[&str], at: &str| -> Vec<String> {
            let found = candidates(&files(names), time(at));
            found.iter().map(|file| file.name[15..file.name.len() - 5].to_owned()).collect()
        };
        let all = [
            "FINAL_780_2023131_2023138_00",
            "PRELIM_781_2023138_2023145_07",
            "FINAL_781_2023138_2023145_00",
            "FINAL_781_2023138_2023145_01",
            "PRELIM_782_2023145_2023152_02",
            "PRELIM_782_2023145_2023152_10",
        ];
        // 2023-05-18 is day 138.
        assert_eq!(chosen(&all, "2023-05-18T12:59:08Z"), ["FINAL_781_2023138_2023145_01"]);
        assert_eq!(chosen(&all, "2023-05-25T12:00:00Z"), ["PRELIM_782_2023145_2023152_10"]);
        assert_eq!(
            chosen(&all, "2023-05-18T00:01:00Z"),
            ["FINAL_781_2023138_2023145_01", "FINAL_780_2023131_2023138_00"]
        );
        assert_eq!(
            chosen(&all, "2023-05-24T23:59:00Z"),
            ["FINAL_781_2023138_2023145_01", "PRELIM_782_2023145_2023152_10"]
        );
        assert_eq!(chosen(&all, "2023-06-01T00:01:00Z"), ["PRELIM_782_2023145_2023152_10"]);
        assert_eq!(chosen(&all, "2023-06-01T00:06:00Z"), [""; 0]);
        assert_eq!(chosen(&all, "2018-11-01T22:22:46Z"), [""; 0]);
    }

    #[test]
    fn mission_elapsed_time_matches_the_gamma_ray_data_tools() {
        // The times at which the GBM's polygons were loaded, in both scales, from the Gamma-ray Data Tools.
        for (utc, met) in [
            ("2001-01-01T00:00:00Z", 0.0),
            ("2010-06-09T18:30:09Z", 297_801_011.0),
            ("2022-06-07T14:20:00Z", 676_304_405.0),
            ("2024-08-08T00:00:00Z", 744_768_005.0),
        ] {
            assert_eq!(mission_elapsed_time(time(utc), true), met, "{utc}");
        }
        assert_eq!(mission_elapsed_time(time("2023-05-18T00:30:11.250Z"), false), 706_062_611.25);
    }

    fn pointings(rows: &[(f64, f64, f64)]) -> Pointings {
        Pointings { rows: rows.to_vec(), states: vec![State::default(); rows.len()], counts_leap_seconds: true }
    }

    #[test]
    fn uses_the_nearest_row_within_the_limit() {
        let at = "2024-08-08T00:00:00Z"; // MET 744,768,005
        let week = pointings(&[
            (744_767_900.0, 10.0, 1.0),
            (f64::NAN, 20.0, 2.0),
            (744_767_960.0, 30.0, 3.0),
            (744_768_020.0, 360.0, -90.0),
            (744_768_080.0, 361.0, 0.0),
        ]);
        assert_eq!(week.at(time(at)), Ok((360.0, -90.0)));
        assert_eq!(week.at(time("2024-08-07T23:59:40Z")), Ok((30.0, 3.0)));
        assert_eq!(week.at(time("2024-08-07T23:57:00Z")), Ok((10.0, 1.0)));
        for (at, expected) in [
            ("2024-08-07T23:56:00Z", "the nearest is of MET 744767900"),
            ("2024-08-08T00:01:10Z", "found RA_SCZ 361, DEC_SCZ 0"),
            ("2024-08-08T00:03:00Z", "within 90 s of MET 744768185"),
        ] {
            let error = week.at(time(at)).expect_err(at);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(pointings(&[(f64::NAN, 1.0, 1.0)]).at(time(at)).is_err());
    }

    /// A table of START, STOP, RA_SCZ and DEC_SCZ, 30 s a row, with one more column.
    fn file(more: Option<(&str, &str)>, value: impl Fn(usize) -> Vec<u8>, starts: &[f64]) -> Vec<u8> {
        let mut columns =
            vec![("START", "D", "s"), ("STOP", "D", "s"), ("RA_SCZ", "E", "deg"), ("DEC_SCZ", "E", "deg")];
        columns.extend(more.map(|(name, form)| (name, form, "")));
        let row = |(i, start): (usize, &f64)| {
            let stop = start + 30.0;
            [&start.to_be_bytes()[..], &stop.to_be_bytes(), &7f32.to_be_bytes(), &8f32.to_be_bytes(), &value(i)]
                .concat()
        };
        let rows: Vec<Vec<u8>> = starts.iter().enumerate().map(row).collect();
        crate::fits::tests::file(&columns, &["TIMESYS = 'TT      '"], &rows)
    }

    #[test]
    fn reports_the_column_that_marks_missing_data() {
        let begin = 744_768_005.0; // 2024-08-08T00:00:00Z
        let starts: Vec<f64> = (0..4).map(|i| begin + 30.0 * f64::from(i)).collect();
        let second = |i: usize, on: Vec<u8>, off: Vec<u8>| if i == 1 { on } else { off };
        let long = |n: i32| n.to_be_bytes().to_vec();
        let double = |x: f64| x.to_be_bytes().to_vec();
        for (name, form, bad, good, says) in [
            ("IN_SAA", "L", vec![b'T'], vec![b'F'], "South Atlantic Anomaly (IN_SAA)"),
            ("IN_SAA", "J", long(1), long(0), "South Atlantic Anomaly (IN_SAA)"),
            ("LIVETIME", "D", double(0.0), double(27.5), "LIVETIME is 0 s"),
            ("LAT_CONFIG", "J", long(0), long(1), "LAT_CONFIG is 0"),
            ("DATA_QUAL", "J", long(0), long(1), "DATA_QUAL is 0"),
            ("DATA_QUAL", "J", long(-1), long(1), "DATA_QUAL is -1"),
        ] {
            let week = file(Some((name, form)), |i| second(i, bad.clone(), good.clone()), &starts);
            let week = Pointings::read(&week).expect(name);
            for (seconds, no_data_reason) in [(0.0, false), (25.0, false), (31.5, true), (58.5, true), (61.5, false)] {
                let at = time("2024-08-08T00:00:00Z") + SignedDuration::from_secs_f64(seconds);
                match week.at(at) {
                    Ok(direction) => assert!(!no_data_reason && direction == (7.0, 8.0), "{name} {seconds}"),
                    Err(error) => {
                        assert!(no_data_reason && error.to_string().contains(says), "{name} {seconds}: {error}")
                    }
                }
            }
            // All rows alike count, except for the columns that plans leave empty.
            let all = Pointings::read(&file(Some((name, form)), |_| bad.clone(), &starts)).expect(name);
            let is_plan = matches!(name, "LAT_CONFIG" | "DATA_QUAL");
            assert_eq!(all.at(time("2024-08-08T00:00:10Z")).is_ok(), is_plan, "{name}");
        }
    }

    #[test]
    fn rejects_times_in_gaps() {
        let begin = 744_768_005.0;
        let week = Pointings::read(&file(None, |_| Vec::new(), &[begin, begin + 30.5, begin + 120.0])).expect("rows");
        for (seconds, there) in [
            (-0.5, true),
            (-5.0, false),
            (10.0, true),
            (30.2, true),
            (62.0, false),
            (90.0, false),
            (119.5, true),
            (152.0, false),
        ] {
            let at = time("2024-08-08T00:00:00Z") + SignedDuration::from_secs_f64(seconds);
            let found = week.at(at);
            assert_eq!(found.is_ok(), there, "{seconds}: {found:?}");
            if let Err(error) = found {
                assert!(error.to_string().contains("no data at this time"), "{error}");
            }
        }
    }

    #[test]
    fn prefers_measured_files_to_plans() {
        let file = FileName::parse("lat_spacecraft_weekly_w781_p310_v001.fits").expect("a name");
        assert_eq!((file.from, file.to), (date(2023, 5, 18), date(2023, 5, 25)));
        // The first whole week with data: https://fermi.gsfc.nasa.gov/ssc/data/access/
        let first = FileName::parse("lat_spacecraft_weekly_w010_p310_v001.fits").expect("a name");
        assert_eq!(first.from, date(2008, 8, 7));
        for name in
            ["lat_spacecraft_merged.fits", "lat_spacecraft_weekly_w781.fits", "lat_spacecraft_weekly_w781_v1_p1.fits"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
        let page = "<a href=\"lat_spacecraft_weekly_w781_p309_v002.fits\">lat_spacecraft_weekly_w781_p310_v001.fits</a>
            FERMI_POINTING_FINAL_781_2023138_2023145_00.fits ";
        let best = candidates(&listing(page.as_bytes()), time("2023-05-18T12:59:08Z"));
        assert_eq!(best[0].name, "lat_spacecraft_weekly_w781_p310_v001.fits");
    }

    proptest! {
        #[test]
        fn no_page_panics(page in "(FERMI_POINTING_|lat_spacecraft_weekly_|w[0-9]{1,6}|_p[0-9]|_v[0-9]|FINAL|PRELIM|_|20[0-9]{5}|[0-9]{1,3}|\\.fits|é|<a>){0,40}") {
            for file in listing(page.as_bytes()) {
                prop_assert_eq!(FileName::parse(&file.name), Some(file.clone()));
                let first = Offset::UTC.to_timestamp(file.from.at(12, 0, 0, 0)).expect("a time");
                prop_assert_eq!(candidates(std::slice::from_ref(&file), first), vec![file]);
            }
        }
    }

    #[test]
    fn rejects_files_that_are_no_spacecraft_file() {
        for bytes in [&b""[..], b"<html>", &[0; 2880]] {
            assert!(!Pointings::read(bytes).expect_err("no FITS").is_retryable());
        }
    }
}
