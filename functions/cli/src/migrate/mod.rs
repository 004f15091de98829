//! `gwtm migrate`: copies objects from one store to another.

mod copy;
mod plan;
mod progress;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use futures::StreamExt;
use shared::{Error, Result};
use store::{Location, Store};
use tokio::sync::Semaphore;

use crate::Failure;
pub(crate) use copy::digest;
use copy::{Copied, Copier};
use plan::{Plan, Task};
use progress::CopyReport;
pub(crate) use progress::passed_over;

/// Memory for concurrent copies [KiB]; an object that needs more is copied alone.
const MEMORY_KIB: u32 = 12 << 10;

/// Options of `gwtm migrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gwtm migrate --source s3 --dest swift --container fit --dry-run     list the planned copies
  gwtm migrate --source s3://old --dest swift://new --container fit,test
  gwtm migrate --source abfs --dest /backup --container fit --verify --report copied.jsonl

Skips objects that the destination has with the same content, and copies objects again that changed at the source. A
failed copy is retried, listed at the end, and does not stop the others. Run the command again to resume.
docs/settings.md lists the settings of a store. Prefix a setting with SOURCE_ or DEST_ to set it for one store only, such
as DEST_AWS_ENDPOINT_URL.
Exit code: 0 all succeeded, 1 some failed, 2 wrong usage or settings.")]
pub struct Migrate {
    /// Source store.
    #[arg(long, value_name = "STORE", help = format!("Source store: {}", store::forms()))]
    pub source: String,
    /// Destination store, in the same form.
    #[arg(long, value_name = "STORE")]
    pub dest: String,
    /// First segment of the object names, such as `fit`: a container on Azure, a folder elsewhere.
    #[arg(long = "container", value_name = "NAME", required = true, value_delimiter = ',')]
    pub containers: Vec<String>,
    /// Write nothing and print the planned copies.
    #[arg(long)]
    pub dry_run: bool,
    /// Copy objects even if the destination has them.
    #[arg(long)]
    pub force: bool,
    /// Do not print a line per object.
    #[arg(long)]
    pub quiet: bool,
    /// Number of concurrent copies.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Read every object back from the destination, skipped ones too, and compare its SHA-256.
    #[arg(long)]
    pub verify: bool,
    /// Write a line of JSON per object to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl Migrate {
    /// Copies everything; returns whether nothing failed.
    ///
    /// # Errors
    /// When the settings are wrong, a list cannot be read, or the destination cannot hold the names.
    pub async fn run(&self) -> std::result::Result<bool, Failure> {
        let (from, to) = self.locations().map_err(Failure::usage)?;
        let source = Store::open(&from).await.map_err(Failure::usage)?;
        let dest = Store::open(&to).await.map_err(Failure::usage)?;
        let mut progress = CopyReport::new(self.quiet, self.report.as_deref()).map_err(Failure::usage)?;

        let plan = Plan::make(&source, &dest, &self.containers, self.force, self.verify).await;
        let plan = plan.map_err(Failure::work)?;
        if let (Some(_), [file, rest @ ..]) = (to.folder(), plan.files_that_are_folders().as_slice()) {
            let more = rest.len();
            return Err(Failure::work(format!(
                "nothing was written: a folder cannot hold both `{file}` and names below it ({more} more such names)"
            )));
        }
        progress.begin(&plan, &format!("{from} to {to}")).map_err(Failure::work)?;
        let copier = Copier { source, dest, verify: self.verify, force: self.force, dry_run: self.dry_run };
        let memory = Arc::new(Semaphore::new(MEMORY_KIB as usize));
        let mut copies = futures::stream::iter(plan.tasks)
            .map(|task| copy_one(&copier, task, memory.clone()))
            .buffer_unordered(self.jobs.into());
        while let Some((task, outcome, begun)) = copies.next().await {
            progress.object(&task, &outcome, begun.elapsed()).map_err(Failure::work)?;
        }
        progress.end(self.dry_run).map_err(Failure::work)
    }

    /// Both stores; errors of both are reported together.
    fn locations(&self) -> Result<(Location, Location)> {
        let source = config::location(Some(&self.source), "SOURCE_").map_err(|error| error.of("source"));
        let dest = config::location(Some(&self.dest), "DEST_").map_err(|error| error.of("destination"));
        let (from, to) = match (source, dest) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(one), Err(other)) => return Err(Error::permanent(format!("{one}; {other}"))),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if from == to {
            return Err(Error::permanent(format!("source and destination: expected two stores, found `{from}` twice")));
        }
        Ok((from, to))
    }
}

async fn copy_one(copier: &Copier, task: Task, memory: Arc<Semaphore>) -> (Task, Result<Copied>, Instant) {
    let held_kib = u32::try_from(copier.dest.held_bytes(task.head.size) >> 10).unwrap_or(u32::MAX).saturating_add(1);
    // Cannot fail: the semaphore is never closed and has enough permits.
    let _permit = memory.acquire_many(held_kib.min(MEMORY_KIB)).await.ok();
    let begun = Instant::now();
    let outcome = copier.run(&task).await;
    (task, outcome, begun)
}
