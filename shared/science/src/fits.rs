//! FITS binary tables in memory.
//!
//! The header is checked here before `cfitsio` (through `fitsio`) sees it, so that the declared size always fits into
//! the given bytes; `cfitsio` then converts the columns. It never opens a file.

mod header;
mod rows;

use std::borrow::Cow;
use std::ffi::{c_char, c_int, c_void};

use std::sync::{Mutex, PoisonError};

use fitsio::{FileOpenMode, FitsFile};

use header::{BLOCK, CARD, Header, MAX_CARDS};
pub use rows::Rows;
use shared::{Error, Result};

use crate::gzip;

/// Default limit on the inflated size of a gzipped file [bytes].
pub const MAX_INFLATED_BYTES: u64 = 256 << 20;
/// Limit on the header-data units searched for a table.
const MAX_HDUS: usize = 100;
/// Limit on the columns of a table (section 7.3.1).
const MAX_COLUMNS: usize = 999;

/// Serialises calls of `cfitsio`, whose list of open files and error stack are global.
static CFITSIO: Mutex<()> = Mutex::new(());

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name (TTYPE), as written.
    pub name: String,
    /// Unit (TUNIT), as written.
    pub unit: Option<String>,
    form: Form,
    /// Offset in a row [bytes].
    offset: usize,
}

/// TFORM: repeat count and type code.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Form {
    repeat: usize,
    code: u8,
}

impl Form {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let repeat = if digits == 0 { 1 } else { text[..digits].parse().ok()? };
        let code = *text.as_bytes().get(digits)?;
        Some(Form { repeat, code })
    }

    /// Width in a row [bytes] (FITS standard 4.0, table 18).
    fn width(self) -> Option<usize> {
        match self.code {
            b'L' | b'B' | b'A' => Some(self.repeat),
            b'X' => Some(self.repeat.div_ceil(8)),
            b'I' => self.repeat.checked_mul(2),
            b'J' | b'E' => self.repeat.checked_mul(4),
            b'K' | b'D' | b'C' | b'P' => self.repeat.checked_mul(8),
            b'M' | b'Q' => self.repeat.checked_mul(16),
            _ => None,
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.repeat, char::from(self.code))
    }
}

/// The first binary table of a FITS file.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    /// The file up to the table's end, in whole blocks.
    bytes: Cow<'a, [u8]>,
    /// Number of the table's header-data unit, from 1.
    hdu: c_int,
    /// Offset of the first row [bytes].
    start: usize,
    row_bytes: usize,
    rows: usize,
    columns: Vec<Column>,
    header: Header,
}

impl<'a> Table<'a> {
    /// Reads the structure of the first binary table; columns are read on demand. Gzipped bytes are inflated, to at
    /// most [`MAX_INFLATED_BYTES`].
    ///
    /// # Errors
    /// Permanent, when the bytes are not FITS, hold no binary table, or are fewer than the table declares.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        Self::open_up_to(bytes, MAX_INFLATED_BYTES)
    }

    /// [`Table::open`] with another limit on the inflated size [bytes].
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn open_up_to(bytes: &'a [u8], max_inflated: u64) -> Result<Self> {
        if gzip::is_gzip(bytes) {
            return Self::structure(Cow::Owned(gzip::inflate(bytes, max_inflated)?));
        }
        Self::structure(Cow::Borrowed(bytes))
    }

    fn structure(bytes: Cow<'a, [u8]>) -> Result<Self> {
        if !bytes.starts_with(b"SIMPLE  =") {
            let found: String = bytes.iter().take(9).flat_map(|b| b.escape_ascii()).map(char::from).collect();
            return Err(Error::permanent(format!("expected a FITS file (`SIMPLE  =`), found `{found}`")));
        }
        let mut at = 0;
        for hdu in 1..=MAX_HDUS {
            if at >= bytes.len() {
                return Err(Error::permanent("expected a binary table, found none"));
            }
            let (header, start) = Header::parse(&bytes, at)?;
            let size = header.data_bytes()?;
            let end = start.checked_add(size).filter(|end| *end <= bytes.len()).ok_or_else(|| {
                Error::permanent(format!(
                    "header-data unit {hdu} declares {size} bytes of data, found {}",
                    bytes.len().saturating_sub(start)
                ))
            })?;
            if header.text("XTENSION") == Some("BINTABLE") {
                return Self::with_columns(bytes, header, hdu, start, end);
            }
            at = end.next_multiple_of(BLOCK);
        }
        Err(Error::permanent(format!("expected a binary table among the first {MAX_HDUS} header-data units")))
    }

    fn with_columns(bytes: Cow<'a, [u8]>, header: Header, hdu: usize, start: usize, end: usize) -> Result<Self> {
        // cfitsio reads these by position, so they must be in the standard's order.
        const ORDER: [&str; 8] = ["XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS"];
        for (i, (expected, (found, _))) in ORDER.iter().zip(&header.cards).enumerate() {
            if expected != found {
                return Err(Error::permanent(format!("card {} is `{found}`, expected `{expected}`", i + 1)));
            }
        }
        let [row_bytes, rows, fields] = [header.size("NAXIS1")?, header.size("NAXIS2")?, header.size("TFIELDS")?];
        if header.size("BITPIX")? != 8 || header.size("NAXIS")? != 2 || header.size("GCOUNT")? != 1 {
            return Err(Error::permanent("expected `BITPIX` 8, `NAXIS` 2 and `GCOUNT` 1 in a binary table"));
        }
        if fields > MAX_COLUMNS {
            return Err(Error::permanent(format!("`TFIELDS` is {fields}, expected at most {MAX_COLUMNS}")));
        }
        let mut columns = Vec::with_capacity(fields);
        let mut offset = 0usize;
        for n in 1..=fields {
            let key = format!("TFORM{n}");
            let text = header.text_once(&key)?.unwrap_or_default();
            let form = Form::parse(text);
            let next = form.and_then(Form::width).and_then(|width| offset.checked_add(width));
            let (Some(form), Some(next)) = (form, next) else {
                return Err(Error::permanent(format!(
                    "`{key}` is `{}`, expected a column format",
                    text.escape_default()
                )));
            };
            let name = header.text_once(&format!("TTYPE{n}"))?.unwrap_or_default().to_owned();
            let unit = header.text(&format!("TUNIT{n}")).map(str::to_owned);
            columns.push(Column { name, unit, form, offset });
            offset = next;
        }
        if offset != row_bytes {
            return Err(Error::permanent(format!("the columns take {offset} bytes, expected `NAXIS1` = {row_bytes}")));
        }
        // cfitsio reads whole blocks; some writers omit the padding of the last one.
        let blocks = end.next_multiple_of(BLOCK);
        let bytes = match bytes {
            Cow::Borrowed(whole) if whole.len() >= blocks => Cow::Borrowed(&whole[..blocks]),
            bytes => {
                let mut owned = bytes.into_owned();
                owned.resize(blocks, 0);
                Cow::Owned(owned)
            }
        };
        let hdu = c_int::try_from(hdu).map_err(|_| Error::permanent("too many header-data units"))?;
        Ok(Table { bytes, hdu, start, row_bytes, rows, columns, header })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether a column of that name exists (case-insensitive).
    pub fn has(&self, name: &str) -> bool {
        !self.positions(name).is_empty()
    }

    /// A numeric column with one value per row, scaled (TSCAL, TZERO), as floating-point numbers; null is NaN.
    ///
    /// # Errors
    /// Permanent, naming the column, when it is missing or does not hold one number per row.
    pub fn f64s(&self, name: &str) -> Result<Vec<f64>> {
        let index = self.number_column(name, b"BIJKED", "a number")?;
        // 0 disables cfitsio's search for nulls, which would turn infinities into nulls.
        let null = if b"ED".contains(&self.columns[index].form.code) { 0.0 } else { f64::NAN };
        self.read(index, null, fitsio_sys::ffgcvd)
    }

    /// An integer column with one value per row, scaled (TZERO).
    ///
    /// # Errors
    /// Permanent, naming the column, when it is missing or does not hold one integer per row.
    pub fn i64s(&self, name: &str) -> Result<Vec<i64>> {
        let index = self.number_column(name, b"BIJK", "an integer")?;
        self.read(index, 0i64, fitsio_sys::ffgcvjj)
    }

    /// A logical column with one value per row; `None` where it is undefined.
    ///
    /// # Errors
    /// Permanent, naming the column, when it is missing or does not hold one logical value per row.
    pub fn bools(&self, name: &str) -> Result<Vec<Option<bool>>> {
        let column = &self.columns[self.number_column(name, b"L", "a logical value")?];
        let value = |row: usize| match self.bytes[self.start + row * self.row_bytes + column.offset] {
            b'T' => Some(true),
            b'F' => Some(false),
            _ => None,
        };
        Ok((0..self.rows).map(value).collect())
    }

    /// A text column, without trailing blanks; invalid UTF-8 is replaced.
    ///
    /// # Errors
    /// Permanent, naming the column, when it is missing or not text.
    pub fn strings(&self, name: &str) -> Result<Vec<String>> {
        // Not through fitsio: its buffers lack the byte for cfitsio's terminator.
        let column = &self.columns[self.find(name)?];
        if column.form.code != b'A' {
            return Err(Error::permanent(format!("column `{name}` is `{}`, expected text", column.form)));
        }
        let field = |row: usize| {
            let from = self.start + row * self.row_bytes + column.offset;
            let bytes = &self.bytes[from..from + column.form.repeat];
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
        };
        Ok((0..self.rows).map(field).collect())
    }

    /// A header value as text, without trailing blanks; `None` when the key is absent or has no value.
    pub fn header_str(&self, key: &str) -> Option<String> {
        self.header.text(key).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A header value as a number; `None` when the key is absent or its value is not a finite number.
    pub fn header_f64(&self, key: &str) -> Option<f64> {
        // FITS allows a D for the exponent (section 4.2.4).
        self.header.text(key)?.replace(['D', 'd'], "E").parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A column's unit, as written.
    ///
    /// # Errors
    /// Permanent, naming the column, when it is missing.
    pub fn unit(&self, name: &str) -> Result<Option<String>> {
        Ok(self.columns[self.find(name)?].unit.clone())
    }

    /// The columns of exactly that name, else those that match when case is ignored.
    fn positions(&self, name: &str) -> Vec<usize> {
        let named = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.columns.len()).filter(|i| same(&self.columns[*i].name)).collect()
        };
        let exact = named(&|found| found == name);
        if exact.is_empty() { named(&|found| found.eq_ignore_ascii_case(name)) } else { exact }
    }

    fn find(&self, name: &str) -> Result<usize> {
        let found = self.positions(name);
        if found.len() > 1 {
            let names: Vec<_> =
                found.iter().take(8).map(|i| format!("`{}`", self.columns[*i].name.escape_default())).collect();
            return Err(Error::permanent(format!(
                "column `{name}`: expected one, found {}; name it as it is written",
                names.join(", ")
            )));
        }
        found.first().copied().ok_or_else(|| {
            let names: Vec<_> =
                self.columns.iter().take(20).map(|c| format!("`{}`", c.name.escape_default())).collect();
            let more = if self.columns.len() > 20 { " …" } else { "" };
            Error::permanent(format!("column `{name}`: expected it among {}{more}", names.join(", ")))
        })
    }

    fn number_column(&self, name: &str, codes: &[u8], expected: &str) -> Result<usize> {
        let index = self.find(name)?;
        let form = self.columns[index].form;
        if form.repeat != 1 || !codes.contains(&form.code) {
            return Err(Error::permanent(format!("column `{name}` is `{form}`, expected {expected} per row")));
        }
        Ok(index)
    }

    #[allow(unsafe_code)]
    fn read<T: Copy>(&self, index: usize, null: T, reader: ReadColumn<T>) -> Result<Vec<T>> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let _one_at_a_time = CFITSIO.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = vec![null; self.rows];
        let mut status: c_int = 0;
        let mut any_null: c_int = 0;
        let column = index as c_int + 1; // at most MAX_COLUMNS
        // cfitsio keeps the addresses of both until the file is closed.
        let mut buffer = self.bytes.as_ptr().cast_mut().cast::<c_void>();
        let mut size = self.bytes.len();
        let mut raw = std::ptr::null_mut();
        // SAFETY: `buffer` and `size` describe `self.bytes` and live, like it, until `file` is dropped at the end of
        // this block, which closes it. A file opened READONLY (0) is never written to nor reallocated, so the cast from
        // const is sound. The name is a constant without cfitsio's extended syntax and is not opened. `values` has room
        // for `rows` values of the type that `reader` writes, and exactly `rows` are requested. The lock excludes every
        // other use of cfitsio.
        unsafe {
            let name = c"memory".as_ptr();
            fitsio_sys::ffomem(&mut raw, name, 0, &mut buffer, &mut size, 0, None, &mut status);
            if status == 0 {
                match FitsFile::from_raw(raw, FileOpenMode::READONLY) {
                    Ok(mut file) => {
                        let handle: *mut fitsio_sys::fitsfile = file.as_raw();
                        fitsio_sys::ffmahd(handle, self.hdu, std::ptr::null_mut(), &mut status);
                        let rows = self.rows as i64; // each row takes a byte of memory or more
                        reader(handle, column, 1, 1, rows, null, values.as_mut_ptr(), &mut any_null, &mut status);
                        drop(file);
                    }
                    Err(error) => return Err(Error::permanent("cfitsio").caused_by(error)),
                }
            }
            fitsio_sys::ffcmsg();
        }
        if status != 0 {
            let name = self.columns[index].name.escape_default();
            return Err(Error::permanent(format!("column `{name}`: cfitsio error {status}: {}", status_text(status))));
        }
        Ok(values)
    }
}

type ReadColumn<T> =
    unsafe extern "C" fn(*mut fitsio_sys::fitsfile, c_int, i64, i64, i64, T, *mut T, *mut c_int, *mut c_int) -> c_int;

#[allow(unsafe_code)]
fn status_text(status: c_int) -> String {
    let mut text: [c_char; 81] = [0; 81];
    // SAFETY: ffgerr writes at most 31 characters including the terminator; the array holds 81.
    unsafe { fitsio_sys::ffgerr(status, text.as_mut_ptr()) };
    text.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// A FITS file with one binary table: columns (name, form, unit) and rows of big-endian bytes.
    pub(crate) fn file(columns: &[(&str, &str, &str)], cards: &[&str], rows: &[Vec<u8>]) -> Vec<u8> {
        let mut primary = vec!["SIMPLE  =                    T", "BITPIX  =                    8"];
        primary.extend(["NAXIS   =                    0", "EXTEND  =                    T"]);
        let mut bytes = header(&primary.iter().map(|card| (*card).to_owned()).collect::<Vec<_>>());
        let mut table = vec!["XTENSION= 'BINTABLE'".to_owned()];
        let row_bytes = rows.first().map_or(0, Vec::len);
        let sizes = [("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", row_bytes), ("NAXIS2", rows.len()), ("PCOUNT", 0)];
        table.extend(sizes.iter().map(|(key, n)| format!("{key:<8}= {n:>20}")));
        table.extend([("GCOUNT", 1), ("TFIELDS", columns.len())].iter().map(|(key, n)| format!("{key:<8}= {n:>20}")));
        for (i, (name, form, unit)) in columns.iter().enumerate() {
            let n = i + 1;
            table.extend([
                format!("{:<8}= '{name}'", format!("TTYPE{n}")),
                format!("{:<8}= '{form}'", format!("TFORM{n}")),
            ]);
            table.push(format!("{:<8}= '{unit}'", format!("TUNIT{n}")));
        }
        table.extend(cards.iter().map(|card| (*card).to_owned()));
        bytes.extend(header(&table));
        bytes.extend(rows.concat());
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn header(cards: &[String]) -> Vec<u8> {
        let mut text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
        text.push_str(&format!("{:<80}", "END"));
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
        bytes
    }

    fn sample() -> Vec<u8> {
        let row = |n: i16, x: f64, name: &[u8; 4], long: i64| {
            [&n.to_be_bytes()[..], &x.to_be_bytes(), name, &long.to_be_bytes()].concat()
        };
        let rows =
            [row(-3, 0.5, b"ab  ", 1 << 40), row(7, f64::INFINITY, b"abcd", -1), row(-1, f64::NAN, b"a\0zz", i64::MIN)];
        let columns = [("N", "I", ""), ("X", "1D", "Mpc"), ("NAME", "4A", ""), ("LONG", "K", "")];
        file(
            &columns,
            &["TZERO1  = 100.0", "TNULL1  = -1", "WHO     = 'it''s me ' / comment", "NUM     = 1.5D2"],
            &rows,
        )
    }

    #[test]
    fn reads_columns_and_header_as_written() {
        let bytes = sample();
        let table = Table::open(&bytes).expect("a table");
        assert_eq!(table.rows(), 3);
        assert_eq!(table.f64s("N").expect("N")[..2], [97.0, 107.0]);
        assert!(table.f64s("N").expect("N")[2].is_nan());
        let x = table.f64s("x").expect("X, whatever the case");
        assert!(x[0] == 0.5 && x[1] == f64::INFINITY && x[2].is_nan());
        assert_eq!(table.strings("NAME").expect("NAME"), ["ab", "abcd", "a"]);
        assert_eq!(table.i64s("LONG").expect("LONG"), [1 << 40, -1, i64::MIN]);
        assert_eq!(table.columns()[1].unit.as_deref(), Some("Mpc"));
        assert_eq!(table.header_str("WHO").as_deref(), Some("it's me"));
        assert_eq!(table.header_f64("NUM"), Some(150.0));
        assert_eq!(table.header_f64("WHO"), None);
        for wrong in [table.i64s("X"), table.i64s("NAME"), table.i64s("NONE")] {
            assert!(wrong.is_err());
        }
        assert!(table.strings("N").is_err());
    }

    #[test]
    fn inflates_gzip_up_to_the_limit() {
        let bytes = sample();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&bytes).expect("memory");
        let gzip = gzip.finish().expect("memory");
        assert_eq!(Table::open(&gzip).expect("a table").rows(), 3);
        assert!(Table::open_up_to(&gzip, bytes.len() as u64 - 1).is_err());
        assert!(Table::open(&gzip[..gzip.len() / 2]).is_err());
        let padded = [&gzip[..], &[0; 2880]].concat();
        assert_eq!(Table::open(&padded).expect("a table").rows(), 3);
    }

    #[test]
    fn truncated_files_fail_or_give_the_same_table() {
        let bytes = sample();
        for n in 0..bytes.len() {
            if let Ok(table) = Table::open(&bytes[..n]) {
                assert_eq!(table.i64s("LONG").expect("LONG"), [1 << 40, -1, i64::MIN], "{n} bytes");
            }
        }
    }

    #[test]
    fn rejects_inconsistent_headers() {
        let bytes = sample();
        let with = |from: &str, to: &str| {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the card");
            let mut changed = bytes.clone();
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
            Table::open(&changed).and_then(|table| table.f64s("X")).expect_err(to).to_string()
        };
        let rows = "NAXIS2  =                    3";
        assert!(with(rows, "NAXIS2  =           4000000000").contains("declares"));
        assert!(with(rows, "NAXIS2  = 18446744073709551615").contains("declares"));
        assert!(with(rows, "NAXIS2  =                   -3").contains("NAXIS2"));
        assert!(with("TFORM2  = '1D'", "TFORM2  = '9D'").contains("NAXIS1"));
        assert!(with("TFORM2  = '1D'", "TFORM2  = '1?'").contains("TFORM2"));
        assert!(with("TFORM4  = 'K'", "TFORM2  = 'K'").contains("TFORM2"));
        assert!(with("PCOUNT  =                    0", "PCOUNT  =  9223372036854775807").contains("declares"));
        assert!(with("SIMPLE", "SAMPLE").contains("SAMPLE"));
        assert!(with("XTENSION= 'BINTABLE'", "XTENSION= 'IMAGE'  ").contains("found none"));
        assert!(Table::open(b"").is_err());
    }
}
