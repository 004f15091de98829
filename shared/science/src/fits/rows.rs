//! The rows of a table that is too large for memory, a chunk at a time.

use std::borrow::Cow;
use std::io::{self, Read};

use shared::{Context, Error, Result};

use super::{BLOCK, CARD, Header, MAX_CARDS, MAX_HDUS, Table};

/// Positions of the cards with the number of rows and the size of the heap (FITS standard 4.0, section 7.3.1).
const NAXIS2: usize = 4;
const PCOUNT: usize = 5;

/// Limit on the length of a row [bytes]; NED-LVS has less than 1,000.
const MAX_ROW_BYTES: usize = 16 << 20;

/// Streams the first binary table of a FITS file. The heap (data of variable-length columns) is not read.
#[derive(Debug)]
pub struct Rows<R> {
    source: R,
    /// The table's header, in whole blocks.
    header: Vec<u8>,
    row_bytes: usize,
    rows: usize,
    left: usize,
}

impl<R: Read> Rows<R> {
    /// Reads up to the first row.
    ///
    /// # Errors
    /// Permanent, as [`Table::open`].
    pub fn open(mut source: R) -> Result<Self> {
        for hdu in 0..MAX_HDUS {
            let Some(bytes) = header_blocks(&mut source)? else {
                return Err(Error::permanent("expected a binary table, found none"));
            };
            if hdu == 0 && !bytes.starts_with(b"SIMPLE  =") {
                let found: String = bytes.iter().take(9).flat_map(|b| b.escape_ascii()).map(char::from).collect();
                return Err(Error::permanent(format!("expected a FITS file (`SIMPLE  =`), found `{found}`")));
            }
            let (header, _) = Header::parse(&bytes, 0)?;
            if header.text("XTENSION") == Some("BINTABLE") {
                let (row_bytes, rows) = (header.size("NAXIS1")?, header.size("NAXIS2")?);
                if row_bytes > MAX_ROW_BYTES {
                    return Err(Error::permanent(format!("`NAXIS1` is {row_bytes}, expected at most {MAX_ROW_BYTES}")));
                }
                let table = Rows { source, header: bytes, row_bytes, rows, left: rows };
                table.table(0, &[])?;
                return Ok(table);
            }
            let size = (header.data_bytes()? as u64).next_multiple_of(BLOCK as u64);
            let skipped = io::copy(&mut (&mut source).take(size), &mut io::sink()).permanent("FITS")?;
            if skipped < size {
                return Err(Error::permanent(format!(
                    "header-data unit {} declares {size} bytes of data, found {skipped}",
                    hdu + 1
                )));
            }
        }
        Err(Error::permanent(format!("expected a binary table among the first {MAX_HDUS} header-data units")))
    }

    /// Number of rows in the table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The next rows, of at most `max_bytes` or one row, as a table of their own; `None` after the last.
    ///
    /// # Errors
    /// Permanent, when the file ends before the rows that it declares.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Option<Table<'static>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let rows = (max_bytes / self.row_bytes.max(1)).clamp(1, self.left);
        let size = rows.saturating_mul(self.row_bytes);
        let mut bytes = Vec::new();
        (&mut self.source).take(size as u64).read_to_end(&mut bytes).permanent("FITS")?;
        if bytes.len() < size {
            let whole = self.rows - self.left + bytes.len() / self.row_bytes.max(1);
            return Err(Error::permanent(format!("the table declares {} rows, found {whole}", self.rows)));
        }
        self.left -= rows;
        self.table(rows, &bytes).map(Some)
    }

    /// Wraps some of the rows in a FITS file of their own.
    fn table(&self, rows: usize, bytes: &[u8]) -> Result<Table<'static>> {
        let primary =
            ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0"];
        let mut file: Vec<u8> = primary.iter().flat_map(|card| format!("{card:<CARD$}").into_bytes()).collect();
        file.extend(format!("{:<width$}", "END", width = BLOCK - file.len()).into_bytes());
        let start = file.len();
        file.reserve_exact((self.header.len() + bytes.len()).next_multiple_of(BLOCK));
        file.extend_from_slice(&self.header);
        for (place, keyword, value) in [(NAXIS2, "NAXIS2", rows), (PCOUNT, "PCOUNT", 0)] {
            let card = &mut file[start + place * CARD..start + (place + 1) * CARD];
            if !card.starts_with(format!("{keyword:<8}= ").as_bytes()) {
                return Err(Error::permanent(format!("card {} is not `{keyword}`, expected it there", place + 1)));
            }
            card.copy_from_slice(format!("{:<CARD$}", format!("{keyword:<8}= {value:>20}")).as_bytes());
        }
        // There is no heap, so its offset is removed too.
        for card in file[start..].chunks_exact_mut(CARD).filter(|card| card.starts_with(b"THEAP   =")) {
            card.fill(b' ');
        }
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(BLOCK), 0);
        Table::structure(Cow::Owned(file))
    }
}

/// The blocks of one header; `None` at the end of the file.
fn header_blocks(source: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        source.by_ref().take(BLOCK as u64).read_to_end(&mut bytes).permanent("FITS")?;
        match bytes.len() - from {
            0 if from == 0 => return Ok(None),
            BLOCK => {}
            _ => return Err(Error::permanent("expected the header to end with `END`")),
        }
        if bytes[from..].chunks_exact(CARD).any(|card| card[..8].trim_ascii_end() == b"END") {
            return Ok(Some(bytes));
        }
        if bytes.len() > MAX_CARDS * CARD {
            return Err(Error::permanent(format!("expected a header of at most {MAX_CARDS} cards")));
        }
    }
}
