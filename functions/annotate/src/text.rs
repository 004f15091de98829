//! Formats numbers and names for display.

use shared::notice::igwn::ChirpMass;

use crate::annotations::Annotations;

/// Escapes text for SVG and HTML, between tags and in quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML allows no other control characters.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A number with three significant digits and thousands separators: `0.0123`, `8.9`, `24,219`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    if size >= 1e5 || (size > 0.0 && size < 1e-3) {
        let exponent = size.log10().floor() as i32;
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{:.2} × 10{}", size / 10_f64.powi(exponent), raised(exponent));
    }
    if size >= 100.0 {
        let digits = format!("{size:.0}");
        let mut text = if value < 0.0 { "−".to_owned() } else { String::new() };
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    let decimals = if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    let text = format!("{size:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if value < 0.0 { format!("−{text}") } else { text.to_owned() }
}

fn raised(exponent: i32) -> String {
    let digit = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => c.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(c),
    };
    exponent.to_string().chars().map(digit).collect()
}

/// A day \[s\].
const DAY_S: f64 = 86_400.0;
/// A Julian year \[s\].
pub const YEAR_S: f64 = 365.25 * DAY_S;

/// A false-alarm rate \[Hz\] as text: `one per 12.3 years`.
pub fn rate(far_hz: f64) -> String {
    if far_hz.is_nan() || far_hz <= 0.0 {
        return "effectively zero".to_owned();
    }
    if far_hz >= 1.0 {
        return format!("{} per second", number(far_hz));
    }
    let seconds = 1.0 / far_hz;
    let (count, unit) = if seconds >= YEAR_S {
        (seconds / YEAR_S, "years")
    } else if seconds >= 2.0 * DAY_S {
        (seconds / DAY_S, "days")
    } else if seconds >= 2.0 * 3600.0 {
        (seconds / 3600.0, "hours")
    } else if seconds >= 120.0 {
        (seconds / 60.0, "minutes")
    } else {
        (seconds, "seconds")
    };
    format!("one per {} {unit}", number(count))
}

/// A probability in percent: `95 %`, `<1 %`.
pub fn percent(prob: f64) -> String {
    if prob > 0.0 && prob < 0.005 { "<1 %".to_owned() } else { format!("{:.0} %", 100.0 * prob) }
}

/// A direction \[deg\]: `RA 194.304°, Dec −17.857°`.
pub fn place(ra_deg: f64, dec_deg: f64) -> String {
    format!("RA {ra_deg:.3}°, Dec {}{:.3}°", if dec_deg < 0.0 { "−" } else { "+" }, dec_deg.abs())
}

/// A map's number for a level or area.
pub fn of_level<T: Copy>(numbers: &std::collections::BTreeMap<String, T>, level: &str) -> Option<T> {
    numbers.get(level).copied()
}

/// Group, pipeline and search that found the event: `CBC · pycbc · AllSky`.
pub fn found_by(annotations: &Annotations) -> Option<String> {
    let event = annotations.event.as_ref()?;
    let words: Vec<&str> =
        [&event.group, &event.pipeline, &event.search].into_iter().flatten().map(String::as_str).collect();
    (!words.is_empty()).then(|| words.join(" · "))
}

/// Probabilities in descending order, without zeros: `BNS 95 %, Terrestrial 5 %`.
pub fn probabilities(named: &std::collections::BTreeMap<String, f64>) -> Option<String> {
    let mut named: Vec<(&String, f64)> =
        named.iter().map(|(name, prob)| (name, *prob)).filter(|(_, prob)| *prob > 0.0).collect();
    named.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<String> = named.into_iter().map(|(name, prob)| format!("{name} {}", percent(prob))).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The `count` most probable bins of a chirp mass, without zeros: `0.87–1.74 M☉ 96 %, 1.74–5 M☉ 3 %`.
pub fn chirp_mass(chirp_mass: &ChirpMass, count: usize) -> Option<String> {
    let mut bins: Vec<([f64; 2], f64)> = chirp_mass.bins().filter(|(_, prob)| *prob > 0.0).collect();
    bins.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words = bins.into_iter().take(count).map(|([from, to], prob)| format!("{from}–{to} M☉ {}", percent(prob)));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chirp_masses_are_listed_by_probability() {
        let bins =
            ChirpMass { bin_edges: vec![0.1, 0.87, 1.74, 5.0, 11.0], probabilities: vec![0.001, 0.9, 0.099, 0.0] };
        assert_eq!(chirp_mass(&bins, 9).as_deref(), Some("0.87–1.74 M☉ 90 %, 1.74–5 M☉ 10 %, 0.1–0.87 M☉ <1 %"));
        assert_eq!(chirp_mass(&bins, 1).as_deref(), Some("0.87–1.74 M☉ 90 %"));
        assert_eq!(chirp_mass(&ChirpMass { probabilities: vec![0.0; 4], ..bins }, 9), None);
    }

    #[test]
    fn formats_numbers_and_rates() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (8.8978, "8.9"),
            (30.975, "31"),
            (-30.94, "−30.9"),
            (665.77, "666"),
            (24218.657, "24,219"),
            (1234567.0, "1.23 × 10⁶"),
            (1.234e9, "1.23 × 10⁹"),
            (-4.5e-12, "−4.50 × 10⁻¹²"),
            (f64::NAN, "unknown"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(rate(1e-9), "one per 31.7 years");
        for (far, text) in [
            (1e-5, "one per 27.8 hours"),
            (1e-3, "one per 16.7 minutes"),
            (0.05, "one per 20 seconds"),
            (1.0, "1 per second"),
            (1e10, "1.00 × 10¹⁰ per second"),
            (1e-30, "one per 3.17 × 10²² years"),
            (0.0, "effectively zero"),
            (f64::INFINITY, "unknown per second"),
        ] {
            assert_eq!(rate(far), text);
        }
        assert_eq!(percent(0.001), "<1 %");
        assert_eq!(place(194.3042, -17.8569), "RA 194.304°, Dec −17.857°");
        assert_eq!(escaped("<a href='x'>&\u{0}"), "&lt;a href=&#39;x&#39;&gt;&amp; ");
    }
}
