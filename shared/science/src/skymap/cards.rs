//! Writes FITS headers.
//!
//! FITS Standard 4.0 (Pence et al. 2010, doi:10.1051/0004-6361/201015362): blocks of 2,880 bytes, cards of 80
//! characters, big-endian binary tables.

use jiff::Timestamp;
use shared::{Error, Result};

use super::MapHeader;

/// Size of a FITS block [bytes].
pub(super) const BLOCK: usize = 2880; // FITS Standard 4.0, section 3.1
/// Size of a header card [bytes].
const CARD: usize = 80; // FITS Standard 4.0, section 3.2

/// The value of a header card.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Real(f64),
    Logical(bool),
}

/// The empty primary unit, and the header of a binary table up to its columns: name, format of eight bytes, unit.
pub(super) fn table(columns: &[(&str, &str, &str)], rows: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let text = |value: &str| Value::Text(value.to_owned());
    let count = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    put(&mut out, "SIMPLE", &Value::Logical(true), "conforms to FITS standard")?;
    put(&mut out, "BITPIX", &Value::Integer(8), "array data type")?;
    put(&mut out, "NAXIS", &Value::Integer(0), "number of array dimensions")?;
    put(&mut out, "EXTEND", &Value::Logical(true), "")?;
    end(&mut out);
    put(&mut out, "XTENSION", &text("BINTABLE"), "binary table extension")?;
    put(&mut out, "BITPIX", &Value::Integer(8), "array data type")?;
    put(&mut out, "NAXIS", &Value::Integer(2), "number of array dimensions")?;
    put(&mut out, "NAXIS1", &count(8 * columns.len() as u64), "length of dimension 1")?;
    put(&mut out, "NAXIS2", &count(rows), "length of dimension 2")?;
    put(&mut out, "PCOUNT", &Value::Integer(0), "number of group parameters")?;
    put(&mut out, "GCOUNT", &Value::Integer(1), "number of groups")?;
    put(&mut out, "TFIELDS", &count(columns.len() as u64), "number of table fields")?;
    for (i, (name, form, unit)) in (1..).zip(columns) {
        put(&mut out, &format!("TTYPE{i}"), &text(name), "")?;
        put(&mut out, &format!("TFORM{i}"), &text(form), "")?;
        if !unit.is_empty() {
            put(&mut out, &format!("TUNIT{i}"), &text(unit), "")?;
        }
    }
    Ok(out)
}

/// The cards for the present fields of a header.
pub(super) fn known(header: &MapHeader) -> Vec<(&'static str, Value, &'static str)> {
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

/// One card: the value right-aligned to column 30, strings quoted from column 11, then the comment, truncated to fit.
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
