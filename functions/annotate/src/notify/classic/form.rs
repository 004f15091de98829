//! Dates, rates and flags as GCN's former mails wrote them.

use jiff::Timestamp;
use shared::key::SupereventId;

/// Printable ASCII of at most 500 characters: texts of notices cannot begin a line of their own.
pub(super) fn plain(text: &str) -> String {
    let known = |c: char| match c {
        '−' => '-',
        c if c.is_control() => ' ',
        c if c.is_ascii() => c,
        _ => '?',
    };
    text.chars().take(500).map(known).collect()
}

pub(super) fn notice_date(time: Timestamp) -> String {
    time.strftime("%a %d %b %y %H:%M:%S UT").to_string()
}

/// Days since 24 May 1968 (MJD − 40000), day of the year, date.
pub(super) fn date(time: Timestamp, format: &str) -> String {
    const UNIX_EPOCH_TJD: i64 = 587; // MJD 40587
    let tjd = time.as_microsecond().div_euclid(86_400_000_000) + UNIX_EPOCH_TJD;
    let day: u32 = time.strftime("%j").to_string().parse().unwrap_or_default();
    format!("{tjd:5} TJD;   {day:3} DOY;   {}", time.strftime(format))
}

/// Second of the day and time, both cut after so many decimals.
pub(super) fn time(time: Timestamp, decimals: usize) -> String {
    let micros = time.as_microsecond().rem_euclid(86_400_000_000);
    let fraction = &format!("{:06}", micros % 1_000_000)[..decimals];
    format!("{}.{fraction} SOD {{{}.{fraction}}} UT", micros / 1_000_000, time.strftime("%H:%M:%S"))
}

pub(super) fn far_line(far: f64) -> String {
    let digits = format!("{far:.3e}");
    // C's form: at least two digits in the exponent, with a sign.
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    let far_text = format!("{mantissa}e{sign}{:02} [Hz]", exponent.abs());
    let days = 1.0 / far / 86_400.0;
    if !days.is_finite() || days <= 0.0 {
        return far_text;
    }
    format!("{far_text}  (one per {days:.1} days)  (one per {:.2} years)", days / 365.0)
}

/// Observatories in the order of MISC's flags, with the names that comments had.
pub(super) const OBSERVATORIES: [(&str, &str); 6] = [
    ("H1", "LIGO-Hanford"),
    ("L1", "LIGO-Livingston"),
    ("V1", "VIRGO"),
    ("G1", "GEO600"),
    ("K1", "KAGRA"),
    ("I1", "LIGO-India"),
];

/// The flags of the field MISC.
pub(super) fn misc(id: &SupereventId, sequence: u32, instruments: &[String]) -> u32 {
    const GROUND: u32 = 1 << 19;
    let mut bits = GROUND;
    for (bit, (code, _)) in OBSERVATORIES.iter().enumerate() {
        bits |= u32::from(instruments.iter().any(|instrument| instrument == code)) << bit;
    }
    let end = id.as_str().trim_start_matches(|c: char| c.is_ascii_uppercase());
    let letter = end.bytes().find(u8::is_ascii_alphabetic).unwrap_or_default();
    let prefix = match id.as_str().as_bytes().first() {
        Some(b'T') => 10,
        Some(b'M') => 12,
        _ => 8,
    };
    bits | u32::from(letter) << 10 | prefix << 20 | (sequence & 0xFF) << 24
}

/// `+01h 09m 57.6s`, `-16d 10' 48.0"`.
pub(super) fn sexagesimal(value: f64, [unit, minute, second]: [&str; 3]) -> String {
    let tenths = (value.abs() * 36_000.0).round();
    let (whole, rest) = ((tenths / 36_000.0).floor(), tenths % 36_000.0);
    let (minutes, seconds) = ((rest / 600.0).floor(), rest % 600.0 / 10.0);
    let sign = if value < 0.0 { '-' } else { '+' };
    format!("{sign}{whole:02.0}{unit} {minutes:02.0}{minute} {seconds:04.1}{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates_of_leap_years_and_days_before_the_unix_epoch() {
        for (text, day, second) in [
            (
                "2020-03-16T21:57:56.157221Z",
                "18924 TJD;    76 DOY;   2020/03/16",
                "79076.157221 SOD {21:57:56.157221} UT",
            ),
            ("2022-11-13T02:29:42Z", "19896 TJD;   317 DOY;   2022/11/13", "8982.000000 SOD {02:29:42.000000} UT"),
            (
                "2024-12-31T23:59:59.9999999Z",
                "20675 TJD;   366 DOY;   2024/12/31",
                "86399.999999 SOD {23:59:59.999999} UT",
            ),
            ("1968-05-24T00:00:00Z", "    0 TJD;   145 DOY;   1968/05/24", "0.000000 SOD {00:00:00.000000} UT"),
            ("1969-12-31T23:59:59.5Z", "  586 TJD;   365 DOY;   1969/12/31", "86399.500000 SOD {23:59:59.500000} UT"),
        ] {
            let moment: Timestamp = text.parse().expect(text);
            assert_eq!((date(moment, "%Y/%m/%d").as_str(), time(moment, 6).as_str()), (day, second), "{text}");
        }
        assert_eq!(notice_date("2020-03-16T22:01:09Z".parse().expect("a time")), "Mon 16 Mar 20 22:01:09 UT");
    }

    #[test]
    fn writes_rates_as_c_does() {
        for (far, text) in [
            (6.787e-14, "6.787e-14 [Hz]  (one per 170532990.6 days)  (one per 467213.67 years)"),
            (2.5e-5, "2.500e-05 [Hz]  (one per 0.5 days)  (one per 0.00 years)"),
            (1.0, "1.000e+00 [Hz]  (one per 0.0 days)  (one per 0.00 years)"),
            (1e-123, "1.000e-123 [Hz]"),
            (0.0, "0.000e+00 [Hz]"),
        ] {
            assert!(far_line(far).starts_with(text), "{far}: {}", far_line(far));
        }
        assert_eq!(far_line(0.0), "0.000e+00 [Hz]");
        assert_eq!(far_line(-1.0), "-1.000e+00 [Hz]");
    }

    #[test]
    fn sets_the_flags_of_observatories_id_and_sequence() {
        let id = |text: &str| text.parse::<SupereventId>().expect(text);
        let of = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        // The first is GCN's own value for S200316bj.
        assert_eq!(misc(&id("S200316bj"), 1, &of(&["H1", "L1", "V1"])), 0x189_8807);
        assert_eq!(misc(&id("MS221113c"), 3, &of(&["H1", "V1"])), 0x3C9_8C05);
        assert_eq!(misc(&id("TS260101a"), 256, &of(&["K1", "X9"])), 0x0A9_8410);
    }

    #[test]
    fn writes_angles_without_sixty_seconds() {
        let dms = ["d", "'", "\""];
        for (value, text) in [
            (16.18, "+16d 10' 48.0\""),
            (-0.5, "-00d 30' 00.0\""),
            (11.999_999_9, "+12d 00' 00.0\""),
            (-89.999_99, "-90d 00' 00.0\""),
        ] {
            assert_eq!(sexagesimal(value, dms), text);
        }
    }

    #[test]
    fn keeps_printable_ascii_on_one_line() {
        assert_eq!(plain("a\r\nBcc: b\u{85}\u{2028}é−5\t|"), "a  Bcc: b ??-5 |");
        assert_eq!(plain(&"x".repeat(600)).len(), 500);
    }
}
