//! Writes a catalogue as an index: Parquet in the order of the NESTED HEALPix curve.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};
use shared::{Context, Error, Result};

use super::{Catalogue, Columns, Dropped, Galaxy};

/// Rows per row group: with two million galaxies on the sky, a group covers 170 deg² and takes half a megabyte.
pub const ROW_GROUP_ROWS: usize = 8192;
/// The key of the [`Manifest`] in the footer.
pub(super) const MANIFEST: &str = "gwtm.manifest";

/// The columns of an index. The first follows the HATS convention (NESTED cell of order 29, signed), the others have
/// the names of NED-LVS.
const SCHEMA: &str = "message galaxies {
    REQUIRED INT64 _healpix_29;
    REQUIRED BYTE_ARRAY objname (UTF8);
    REQUIRED DOUBLE ra;
    REQUIRED DOUBLE dec;
    REQUIRED DOUBLE DistMpc;
    REQUIRED DOUBLE Mstar;
}";

/// Provenance of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The source's file name.
    pub source: String,
    /// Size of the source [bytes].
    pub source_bytes: u64,
    /// SHA-256 of the source, hexadecimal.
    pub source_sha256: String,
    /// The columns read from the source.
    pub columns: Columns,
    /// Rows in the index.
    pub rows: usize,
    /// Rows of the source left out, by reason.
    pub dropped: Dropped,
    /// Largest number of rows in a row group.
    pub row_group_rows: usize,
    /// Version of the software that built it.
    pub version: String,
}

/// Writes an index: rows sorted by `_healpix_29`, name, right ascension, declination, distance and mass, so that the
/// same galaxies in any order give the same rows; row groups of [`ROW_GROUP_ROWS`] with the minimum and maximum of cell
/// and distance. `done` is called with the number of rows written.
///
/// # Errors
/// Permanent, when writing fails.
pub fn build(
    catalogue: &Catalogue,
    manifest: &Manifest,
    out: impl Write + Send,
    mut done: impl FnMut(usize),
) -> Result<()> {
    let json = serde_json::to_string(manifest).permanent("manifest")?;
    let properties = WriterProperties::builder()
        .set_created_by(format!("gwtm {}", manifest.version))
        .set_key_value_metadata(Some(vec![KeyValue::new(MANIFEST.to_owned(), json)]))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("_healpix_29".into(), EnabledStatistics::Chunk)
        .set_column_statistics_enabled("DistMpc".into(), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_encoding(Encoding::PLAIN)
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA).permanent("index")?);
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).permanent("index")?;
    let mut order: Vec<usize> = (0..catalogue.len()).collect();
    order.sort_unstable_by(|a, b| {
        let (a, b) = (*a, *b);
        catalogue.ipix_29()[a].cmp(&catalogue.ipix_29()[b]).then_with(|| {
            let (a, b) = (catalogue.galaxy(a), catalogue.galaxy(b));
            let by_position = || a.ra.total_cmp(&b.ra).then(a.dec.total_cmp(&b.dec));
            let by_values = || a.dist.total_cmp(&b.dist).then(a.mstar.total_cmp(&b.mstar));
            a.name.cmp(b.name).then_with(by_position).then_with(by_values)
        })
    });
    for rows in order.chunks(ROW_GROUP_ROWS) {
        let mut group = writer.next_row_group().permanent("index")?;
        // Cells of order 29 stay below 2^62.
        let cells: Vec<i64> = rows.iter().map(|i| catalogue.ipix_29()[*i] as i64).collect();
        let names: Vec<ByteArray> = rows.iter().map(|i| ByteArray::from(catalogue.galaxy(*i).name)).collect();
        write::<Int64Type, _>(&mut group, &cells)?;
        write::<ByteArrayType, _>(&mut group, &names)?;
        let columns: [fn(Galaxy<'_>) -> f64; 4] = [|g| g.ra, |g| g.dec, |g| g.dist, |g| g.mstar];
        for column in columns {
            let values: Vec<f64> = rows.iter().map(|i| column(catalogue.galaxy(*i))).collect();
            write::<DoubleType, _>(&mut group, &values)?;
        }
        group.close().permanent("index")?;
        done(rows.len());
    }
    writer.close().permanent("index")?;
    Ok(())
}

fn write<T: parquet::data_type::DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<()> {
    let Some(mut column) = group.next_column().permanent("index")? else {
        return Err(Error::permanent("index: expected another column"));
    };
    column.typed::<T>().write_batch(values, None, None).permanent("index")?;
    column.close().permanent("index")
}
