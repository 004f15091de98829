//! `gwtm catalog`: builds and shows galaxy indices.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Subcommand;
use config::Config;
use galaxy_list::source::CatalogueSource;
use indicatif::{ProgressBar, ProgressStyle};
use science::galaxy::{self, Catalogue, Columns, Manifest, ROW_GROUP_ROWS};
use sha2::{Digest, Sha256};
use shared::digest::hex;
use shared::key::Key;
use shared::{Context, Error, Result};
use store::Store;

use crate::Failure;

/// Folder of the indices in the store.
const FOLDER: &str = "galaxy_catalog/";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Convert a FITS or CSV catalogue to an index: Parquet sorted by HEALPix cell.
    #[command(after_help = "\
Examples:
  gwtm catalog build NEDLVS_20250602.fits --out galaxy_catalog/ned-lvs.parquet
  gwtm catalog build mine.csv --out mine.parquet --columns name=id,distance=d_mpc,mass=stellar_mass
  gwtm catalog build mine.csv --out mine.parquet --columns 'ra=ra_hours[h],mass=logM[log(solMass)]'

Set CATALOG_PATH to the path given to --out. A manifest is written beside it.")]
    Build {
        /// Catalogue file: FITS or CSV, plain or gzipped.
        source: PathBuf,
        /// Output file; an object of the store if it begins with `galaxy_catalog/`.
        #[arg(long, value_name = "KEY|FILE")]
        out: String,
        /// Column names that differ from NED-LVS (name=objname,ra=ra,dec=dec,distance=DistMpc,mass=Mstar); a unit in
        /// brackets after a name, such as `ra=ra_hours[h]`, overrides the column's unit.
        #[arg(long)]
        columns: Option<Columns>,
    },
    /// Show the contents of a catalogue.
    #[command(after_help = "\
Examples:
  gwtm catalog info galaxy_catalog/ned-lvs.parquet
  gwtm catalog info NEDLVS_20250602.fits")]
    Info {
        /// Catalogue: a file or an object of the store.
        #[arg(value_name = "PATH|KEY")]
        catalogue: String,
    },
}

impl Catalog {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// When the settings or the catalogue are wrong.
    pub async fn run(&self) -> std::result::Result<(), Failure> {
        match self {
            Catalog::Build { source, out, columns } => {
                let columns = columns.clone().unwrap_or_default();
                build(source, out, &columns).await
            }
            Catalog::Info { catalogue } => info(catalogue).await,
        }
    }
}

async fn open_store() -> std::result::Result<Store, Failure> {
    let config = Config::from_env(&[]).map_err(Failure::usage)?;
    config.log.start("warn");
    config.open_store().await.map_err(Failure::usage)
}

async fn build(source: &Path, out: &str, columns: &Columns) -> std::result::Result<(), Failure> {
    let begun = Instant::now();
    let object = if out.starts_with(FOLDER) {
        let keys = [out.to_owned(), manifest_name(out)].map(Key::new);
        Some((open_store().await?, keys.into_iter().collect::<Result<Vec<_>>>().map_err(Failure::usage)?))
    } else {
        None
    };
    // Written next to the output file, or to the temporary folder for an object.
    let folder = match &object {
        Some(_) => None,
        None => Some(Path::new(out).parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))),
    };
    let named = |error: Error| Failure::work(error.of(format!("galaxy catalogue `{}`", source.display())));
    let (catalogue, manifest) = read(source, columns).map_err(named)?;
    for warning in catalogue.warnings() {
        eprintln!("warning: {warning}");
    }
    let written = write(&catalogue, &manifest, folder).map_err(Failure::work)?;
    let mut text = serde_json::to_vec_pretty(&manifest).map_err(Failure::work)?;
    text.push(b'\n');
    let size = written.as_file().metadata().map_err(Failure::work)?.len();
    match object {
        Some((store, keys)) => {
            let index = fs::read(written.path()).map_err(Failure::work)?;
            for (key, bytes) in keys.iter().zip([index, text]) {
                store.put(key, Bytes::from(bytes)).await.map_err(Failure::work)?;
            }
        }
        None => {
            let written =
                written.persist(out).map_err(|error| error.error).and_then(|_| fs::write(manifest_name(out), text));
            written.permanent(format_args!("file `{out}`")).map_err(Failure::work)?;
        }
    }
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{out}: {} galaxies, {} in {:.1} s; left out: {}",
        manifest.rows,
        megabytes(size),
        begun.elapsed().as_secs_f64(),
        manifest.dropped
    )
    .map_err(Failure::work)
}

fn manifest_name(out: &str) -> String {
    format!("{out}.manifest.json")
}

/// Reads the source and its digest.
fn read(source: &Path, columns: &Columns) -> Result<(Catalogue, Manifest)> {
    let file = File::open(source).permanent("cannot be read")?;
    let size = file.metadata().permanent("cannot be read")?.len();
    let progress = progress_bar(size, "reading {bytes}/{total_bytes} {bar:30} {eta}");
    let mut digested = Digested { source: progress.wrap_read(file), digest: Sha256::new(), bytes: 0 };
    let catalogue = Catalogue::read_from(&mut digested, columns)?;
    // The digest includes the bytes after the table.
    io::copy(&mut digested, &mut io::sink()).permanent("cannot be read")?;
    progress.finish_and_clear();
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned());
    let manifest = Manifest {
        source: name.unwrap_or_default(),
        source_bytes: digested.bytes,
        source_sha256: hex(digested.digest.finalize()),
        columns: columns.clone(),
        rows: catalogue.len(),
        dropped: catalogue.dropped(),
        row_group_rows: ROW_GROUP_ROWS,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok((catalogue, manifest))
}

/// Writes the index to a temporary file, which is renamed when complete.
fn write(catalogue: &Catalogue, manifest: &Manifest, folder: Option<&Path>) -> Result<tempfile::NamedTempFile> {
    let place = folder.map_or("for temporary files".to_owned(), |folder| format!("`{}`", folder.display()));
    let progress = progress_bar(catalogue.len() as u64, "writing {pos}/{len} galaxies {bar:30} {eta}");
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    let file = match folder {
        Some(folder) => builder.tempfile_in(folder),
        None => builder.tempfile(),
    };
    let mut file = file.permanent(format_args!("folder {place}"))?;
    let mut out = io::BufWriter::with_capacity(1 << 20, file.as_file_mut());
    galaxy::build(catalogue, manifest, &mut out, |rows| progress.inc(rows as u64))?;
    out.flush().permanent(format_args!("folder {place}"))?;
    drop(out);
    progress.finish_and_clear();
    Ok(file)
}

async fn info(name: &str) -> std::result::Result<(), Failure> {
    let named = |error: Error| Failure::work(error.of(format!("galaxy catalogue `{name}`")));
    // A file can be shown without settings.
    let source = CatalogueSource::find(&open_store().await?, name).await.map_err(named)?;
    let mut lines = vec![("catalogue", name.to_owned()), ("size", megabytes(source.size()))];
    match source.index().await.map_err(named)? {
        Some(index) => {
            lines.push(("galaxies", index.rows().to_string()));
            lines.push(("index", format!("_healpix_29, {} row groups", index.row_groups())));
            if let Some((nearest, farthest)) = index.distances() {
                lines.push(("distances", format!("{nearest} to {farthest} Mpc")));
            }
            match index.manifest() {
                Some(manifest) => {
                    lines.push(("source", format!("{}, {}", manifest.source, megabytes(manifest.source_bytes))));
                    lines.push(("sha-256", manifest.source_sha256));
                    let Columns { name, ra, dec, distance, mass, .. } = manifest.columns;
                    lines.push(("columns", format!("name={name} ra={ra} dec={dec} distance={distance} mass={mass}")));
                    lines.push(("left out", manifest.dropped.to_string()));
                    lines.push(("built by", format!("gwtm {}", manifest.version)));
                }
                None => lines.push(("source", "unknown: not built by `gwtm catalog build`".to_owned())),
            }
        }
        None => {
            let catalogue = source.read_whole(&Columns::default()).await.map_err(named)?;
            lines.push(("galaxies", catalogue.len().to_string()));
            lines.push(("left out", catalogue.dropped().to_string()));
            lines.extend(catalogue.warnings().iter().map(|warning| ("warning", warning.clone())));
            lines.push(("index", format!("none; `gwtm catalog build {name} --out {FOLDER}…` builds one")));
        }
    }
    let mut stdout = io::stdout().lock();
    lines.iter().try_for_each(|(what, value)| writeln!(stdout, "{what:<10} {value}")).map_err(Failure::work)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A reader that computes the SHA-256.
struct Digested<R> {
    source: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(bytes)?;
        self.digest.update(&bytes[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn progress_bar(length: u64, template: &str) -> ProgressBar {
    // indicatif hides it when standard error is not a terminal.
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
