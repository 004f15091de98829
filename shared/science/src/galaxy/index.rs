//! Reads an index, or any Parquet file with the same columns: first the footer, then the needed row groups.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::basic::{Repetition, Type};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;
use shared::{Context, Error, Result};

use super::build::MANIFEST;
use super::catalogue::MAX_ROWS;
use super::{Catalogue, Columns, Galaxy, Manifest};
use crate::skymap::{MAX_ORDER, n_cells};

/// Bytes to read first from the end of a file; the footer for two million rows is smaller.
pub const FOOTER_TAIL: u64 = 256 << 10;
/// Limit on the footer [bytes].
const MAX_FOOTER_BYTES: u64 = 32 << 20;
/// Limit on a row group, compressed and uncompressed [bytes].
const MAX_GROUP_BYTES: u64 = 256 << 20;
/// Target size of a read [bytes]; a larger row group is read whole.
const PART_BYTES: u64 = 2 << 20;
/// Last bytes of a Parquet file, after four bytes with the length of the footer.
const MAGIC: &[u8] = b"PAR1";
/// Column with the cell of order 29 that contains the galaxy, named by the HATS convention.
const CELLS: &str = "_healpix_29";

/// The footer of an index.
#[derive(Debug)]
pub struct Index {
    metadata: ParquetMetaData,
    /// Positions of the columns: cell, name, right ascension, declination, distance, mass.
    places: [usize; 6],
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    rows: usize,
    bytes: Range<u64>,
    /// Range of cells; all cells, when the file has no statistics.
    cells: RangeInclusive<u64>,
}

/// Adjacent row groups that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Range in the file [bytes].
    pub bytes: Range<u64>,
    groups: Range<usize>,
}

/// Size of the footer with its length and magic [bytes], from the last eight bytes of a file; `None` when the file is
/// not Parquet.
///
/// # Errors
/// Permanent, for a footer that is too large.
pub fn footer_bytes(last: &[u8]) -> Result<Option<u64>> {
    let Some([a, b, c, d, magic @ ..]) = last.last_chunk::<8>() else { return Ok(None) };
    if magic != MAGIC {
        return Ok(None);
    }
    let footer = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    if footer > MAX_FOOTER_BYTES {
        return Err(Error::permanent(format!("expected a footer of at most {MAX_FOOTER_BYTES} bytes, found {footer}")));
    }
    Ok(Some(footer + 8))
}

impl Index {
    /// Parses the footer of a file of `size` bytes from at least its last [`footer_bytes`].
    ///
    /// # Errors
    /// Permanent, for bytes without a footer, a missing or wrongly typed column, or row groups that are too large or
    /// outside the file.
    pub fn parse(size: u64, end: &[u8]) -> Result<Self> {
        let length = footer_bytes(end)?.and_then(|length| usize::try_from(length).ok());
        let footer = length.and_then(|length| end.get(end.len().checked_sub(length)?..end.len() - 8));
        let footer = footer.ok_or_else(|| Error::permanent("expected the footer of a Parquet file"))?;
        let metadata = ParquetMetaDataReader::decode_metadata(footer).permanent("Parquet")?;
        let end_of_rows = size.saturating_sub(footer.len() as u64 + 8);
        let places = places(&metadata)?;
        let mut groups = Vec::with_capacity(metadata.num_row_groups());
        let mut rows = 0usize;
        for (i, group) in metadata.row_groups().iter().enumerate() {
            let wrong = |what: String| Error::permanent(format!("row group {}: {what}", i + 1));
            let held = usize::try_from(group.num_rows()).map_err(|_| wrong("expected a number of rows".to_owned()))?;
            rows = rows.saturating_add(held);
            let (mut first, mut last, mut inflated) = (u64::MAX, 0u64, 0u64);
            for place in places {
                let column = group.columns().get(place).ok_or_else(|| wrong("a column is missing".to_owned()))?;
                let start = column.dictionary_page_offset().unwrap_or(i64::MAX).min(column.data_page_offset());
                let (Ok(start), Ok(length), Ok(unpacked)) = (
                    u64::try_from(start),
                    u64::try_from(column.compressed_size()),
                    u64::try_from(column.uncompressed_size()),
                ) else {
                    return Err(wrong("expected offsets that are not negative".to_owned()));
                };
                let end = start.saturating_add(length);
                if end > end_of_rows {
                    return Err(wrong(format!("ends at byte {end}, expected it within {end_of_rows}")));
                }
                (first, last) = (first.min(start), last.max(end));
                inflated = inflated.saturating_add(unpacked);
            }
            let bytes = first..last;
            let largest = inflated.max(last.saturating_sub(first));
            if largest > MAX_GROUP_BYTES {
                return Err(wrong(format!("expected at most {MAX_GROUP_BYTES} bytes, found {largest}")));
            }
            // A row has at least the four bytes with the length of its name, before compression.
            if held as u64 > MAX_GROUP_BYTES / 4 {
                return Err(wrong(format!("{held} rows do not fit into {inflated} bytes")));
            }
            let cells = match group.column(places[0]).statistics() {
                Some(Statistics::Int64(found)) => match (found.min_opt(), found.max_opt()) {
                    (Some(least), Some(most)) => (*least).max(0) as u64..=(*most).max(0) as u64,
                    _ => 0..=u64::MAX,
                },
                _ => 0..=u64::MAX,
            };
            groups.push(Group { rows: held, bytes, cells });
        }
        if rows > MAX_ROWS {
            return Err(Error::permanent(format!("expected at most {MAX_ROWS} rows, found {rows}")));
        }
        Ok(Index { metadata, places, groups })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// Number of row groups.
    pub fn row_groups(&self) -> usize {
        self.groups.len()
    }

    /// The manifest, when this software built the file.
    pub fn manifest(&self) -> Option<Manifest> {
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        let json = entries.iter().find(|entry| entry.key == MANIFEST)?.value.as_deref()?;
        serde_json::from_str(json).ok()
    }

    /// Minimum and maximum distance \[Mpc\], when the file has statistics.
    pub fn distances(&self) -> Option<(f64, f64)> {
        let mut all = (f64::INFINITY, f64::NEG_INFINITY);
        for group in self.metadata.row_groups() {
            let Some(Statistics::Double(found)) = group.column(self.places[4]).statistics() else { return None };
            all = (all.0.min(*found.min_opt()?), all.1.max(*found.max_opt()?));
        }
        (all.0 <= all.1).then_some(all)
    }

    /// The parts of the file whose row groups may have galaxies in a zone, given as sorted, disjoint ranges of cells of
    /// order 29.
    pub fn parts(&self, zone: &[Range<u64>]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (i, group) in self.groups.iter().enumerate() {
            let next = zone.partition_point(|range| range.end <= *group.cells.start());
            if group.rows == 0 || zone.get(next).is_none_or(|range| range.start > *group.cells.end()) {
                continue;
            }
            match parts.last_mut() {
                Some(part)
                    if part.groups.end == i
                        && part.bytes.end == group.bytes.start
                        && group.bytes.end - part.bytes.start <= PART_BYTES =>
                {
                    part.bytes.end = group.bytes.end;
                    part.groups.end = i + 1;
                }
                _ => parts.push(Part { bytes: group.bytes.clone(), groups: i..i + 1 }),
            }
        }
        parts
    }

    /// The galaxies of each row group of a part, from the part's bytes. Rows that cannot be ranked are left out and
    /// counted.
    ///
    /// # Errors
    /// Permanent, for bytes that do not hold these rows.
    pub fn read(&self, part: &Part, bytes: Bytes) -> impl Iterator<Item = Result<Catalogue>> {
        let bytes = Arc::new(FileSlice { at: part.bytes.start, bytes });
        part.groups
            .clone()
            .map(move |group| self.group(group, &bytes).map_err(|error| error.of(format!("row group {}", group + 1))))
    }

    fn group(&self, group: usize, bytes: &Arc<FileSlice>) -> Result<Catalogue> {
        let [cells, name, ra, dec, distance, mass] = self.places;
        let cells = self.column::<Int64Type>(group, cells, bytes, &-1)?;
        let names = self.column::<ByteArrayType>(group, name, bytes, &Vec::new().into())?;
        let number = |place: usize| -> Result<Vec<f64>> {
            if self.metadata.file_metadata().schema_descr().column(place).physical_type() == Type::FLOAT {
                let values = self.column::<FloatType>(group, place, bytes, &f32::NAN)?;
                return Ok(values.into_iter().map(f64::from).collect());
            }
            self.column::<DoubleType>(group, place, bytes, &f64::NAN)
        };
        let [ra, dec, dist, mstar] = [number(ra)?, number(dec)?, number(distance)?, number(mass)?];
        let mut catalogue = Catalogue::default();
        for (i, name) in names.iter().enumerate() {
            let cell = u64::try_from(cells[i]).ok().filter(|cell| *cell < n_cells(MAX_ORDER)).ok_or_else(|| {
                Error::permanent(format!("column `{CELLS}`: expected a cell of order 29, found {}", cells[i]))
            })?;
            let name = String::from_utf8_lossy(name.data());
            catalogue.add_with_cell(
                Galaxy { name: &name, ra: ra[i], dec: dec[i], dist: dist[i], mstar: mstar[i] },
                |_, _| cell,
            );
        }
        Ok(catalogue)
    }

    /// One column of a row group, with `missing` for null.
    fn column<T: DataType>(
        &self,
        group: usize,
        place: usize,
        bytes: &Arc<FileSlice>,
        missing: &T::T,
    ) -> Result<Vec<T::T>> {
        let rows = self.groups[group].rows;
        let schema = self.metadata.file_metadata().schema_descr().column(place);
        let named = |error: ParquetError| {
            Error::permanent(format!("column `{}`: Parquet", schema.name().escape_default())).caused_by(error)
        };
        let chunk = self.metadata.row_group(group).column(place);
        let pages = SerializedPageReader::new(bytes.clone(), chunk, rows, None).map_err(named)?;
        let optional = schema.max_def_level() > 0;
        let mut reader = ColumnReaderImpl::<T>::new(schema.clone(), Box::new(pages));
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            let (records, ..) =
                reader.read_records(rows - read, optional.then_some(&mut levels), None, &mut values).map_err(named)?;
            if records == 0 {
                return Err(named(ParquetError::EOF(format!("expected {rows} rows, found {read}"))));
            }
            read += records;
        }
        if !optional {
            return Ok(values);
        }
        let mut present = values.into_iter();
        let value = |level: i16| if level > 0 { present.next() } else { None };
        Ok(levels.into_iter().map(value).map(|value| value.unwrap_or_else(|| missing.clone())).collect())
    }
}

/// Positions of the columns.
fn places(metadata: &ParquetMetaData) -> Result<[usize; 6]> {
    let schema = metadata.file_metadata().schema_descr();
    let Columns { name, ra, dec, distance, mass, .. } = Columns::default();
    let mut places = [0; 6];
    for (place, wanted) in places.iter_mut().zip([CELLS, &name, &ra, &dec, &distance, &mass]) {
        let found = schema.columns().iter().position(|column| column.path().string() == wanted);
        *place = found.ok_or_else(|| {
            let names: Vec<String> =
                schema.columns().iter().take(8).map(|column| column.name().escape_default().to_string()).collect();
            Error::permanent(format!("column `{wanted}`: expected it, found the columns {}", names.join(", ")))
        })?;
        let column = schema.column(*place);
        let kinds: &[Type] = if wanted == CELLS {
            &[Type::INT64]
        } else if wanted == name {
            &[Type::BYTE_ARRAY]
        } else {
            &[Type::DOUBLE, Type::FLOAT]
        };
        let flat = column.max_rep_level() == 0
            && column.max_def_level() <= 1
            && column.self_type().get_basic_info().repetition() != Repetition::REPEATED;
        if !flat || !kinds.contains(&column.physical_type()) {
            let found = column.physical_type();
            return Err(Error::permanent(format!("column `{wanted}` is {found}, expected {} per row", kinds[0])));
        }
    }
    Ok(places)
}

/// Bytes of a file from offset `at`.
struct FileSlice {
    at: u64,
    bytes: Bytes,
}

impl FileSlice {
    fn from(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let at = start.checked_sub(self.at).and_then(|at| usize::try_from(at).ok());
        at.filter(|at| *at <= self.bytes.len())
            .map(|at| self.bytes.slice(at..))
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} was not read")))
    }
}

impl Length for FileSlice {
    fn len(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

impl ChunkReader for FileSlice {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("expected {length} bytes, found {}", bytes.len())));
        }
        Ok(bytes.slice(..length))
    }
}
