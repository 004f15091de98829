//! Progress of a migration: lines, a progress bar on a terminal, and the JSON report.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde::Serialize;
use shared::digest::hex;
use shared::{Context, Result};

use super::copy::{Copied, Proof};
use super::plan::{Plan, Task};

/// Counts objects and prints progress.
#[derive(Debug)]
pub(crate) struct CopyReport {
    quiet: bool,
    report: Option<BufWriter<File>>,
    bar: ProgressBar,
    begun: Instant,
    objects: usize,
    bytes: u64,
    done: usize,
    done_bytes: u64,
    totals: Totals,
    failures: Vec<String>,
}

/// Totals over all objects.
#[derive(Debug, Default, Serialize)]
struct Totals {
    copied: usize,
    copied_bytes: u64,
    already_there: usize,
    would_copy: usize,
    failed: usize,
    seconds: f64,
}

/// A line of the report.
#[derive(Debug, Serialize)]
struct ReportLine<'a> {
    object: &'a str,
    outcome: &'static str,
    bytes: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Digest that verified the destination's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl CopyReport {
    /// Opens the report, before any copy.
    ///
    /// # Errors
    /// Permanent, when its file cannot be written.
    pub(crate) fn new(quiet: bool, report: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| File::create(path).permanent(format_args!("report `{}`", path.display()));
        Ok(CopyReport {
            quiet,
            report: report.map(open).transpose()?.map(BufWriter::new),
            bar: ProgressBar::hidden(),
            begun: Instant::now(),
            objects: 0,
            bytes: 0,
            done: 0,
            done_bytes: 0,
            totals: Totals::default(),
            failures: Vec::new(),
        })
    }

    /// Prints the plan.
    pub(crate) fn begin(&mut self, plan: &Plan, places: &str) -> io::Result<()> {
        self.objects = plan.tasks.len();
        self.bytes = plan.tasks.iter().map(|task| task.head.size).sum();
        let mut out = io::stdout().lock();
        write!(out, "{places}: {} objects, {} at the source", self.objects, HumanBytes(self.bytes))?;
        writeln!(out, "{}", passed_over(plan.markers, plan.special_files))?;
        self.bar = ProgressBar::new(self.bytes);
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.begun = Instant::now();
        Ok(())
    }

    /// Counts an object and prints its outcome.
    pub(crate) fn object(&mut self, task: &Task, outcome: &Result<Copied>, took: Duration) -> io::Result<()> {
        let (key, size) = (task.key.as_str(), task.head.size);
        self.done += 1;
        self.done_bytes += size;
        let mut line = ReportLine {
            object: key,
            outcome: "already there",
            bytes: size,
            seconds: round(took),
            md5: None,
            sha256: None,
            verified_by: None,
            error: None,
        };
        let mut message = None;
        match outcome {
            Ok(Copied::Same) => self.totals.already_there += 1,
            Ok(Copied::WouldCopy) => {
                line.outcome = "would be copied";
                self.totals.would_copy += 1;
                message = Some(format!("would copy {key} ({})", HumanBytes(size)));
            }
            Ok(Copied::Now(digests, proof)) => {
                line.outcome = "copied";
                line.bytes = digests.size;
                line.md5 = Some(digests.md5.to_string());
                line.sha256 = Some(hex(digests.sha256));
                line.verified_by = Some(match proof {
                    Proof::Md5 => "md5",
                    Proof::Sha256 => "sha256",
                });
                self.totals.copied += 1;
                self.totals.copied_bytes += digests.size;
                let rate = HumanBytes((digests.size as f64 / took.as_secs_f64().max(1e-6)) as u64);
                let (size, eta) = (HumanBytes(digests.size), self.eta());
                message = Some(format!("[{}/{}] {key} {size} {rate}/s, ETA {eta}", self.done, self.objects));
            }
            Err(error) => {
                line.outcome = "failed";
                line.error = Some(error.to_string());
                self.totals.failed += 1;
                self.failures.push(format!("{key}: {error}"));
                message = Some(format!("FAILED {key}: {error}"));
            }
        }
        if let Some(report) = &mut self.report {
            serde_json::to_writer(&mut *report, &line)?;
            writeln!(report)?;
        }
        self.bar.set_position(self.done_bytes);
        self.bar.set_message(format!("{}/{}", self.done, self.objects));
        match message {
            Some(message) if !self.quiet => self.bar.suspend(|| writeln!(io::stdout().lock(), "{message}")),
            _ => Ok(()),
        }
    }

    /// Estimated time for the rest.
    fn eta(&self) -> HumanDuration {
        let left = (self.bytes.saturating_sub(self.done_bytes)) as f64 / self.done_bytes.max(1) as f64;
        HumanDuration(Duration::try_from_secs_f64(self.begun.elapsed().as_secs_f64() * left).unwrap_or_default())
    }

    /// Prints the totals; returns whether nothing failed.
    pub(crate) fn end(mut self, dry_run: bool) -> io::Result<bool> {
        self.bar.finish_and_clear();
        let took = self.begun.elapsed();
        self.totals.seconds = round(took);
        let Totals { copied, copied_bytes, already_there, would_copy, failed, .. } = self.totals;
        let mut out = io::stdout().lock();
        if dry_run {
            writeln!(out, "{would_copy} would be copied, {already_there} already there, {failed} failed (dry run)")?;
        } else {
            let rate = HumanBytes((copied_bytes as f64 / took.as_secs_f64().max(1e-6)) as u64);
            let size = HumanBytes(copied_bytes);
            let seconds = took.as_secs_f64();
            writeln!(
                out,
                "{copied} copied ({size} in {seconds:.1} s, {rate}/s), {already_there} already there, {failed} failed"
            )?;
        }
        // Repeated, because earlier lines have scrolled away.
        for failure in &self.failures {
            writeln!(out, "  failed: {failure}")?;
        }
        if let Some(mut report) = self.report.take() {
            serde_json::to_writer(&mut report, &serde_json::json!({ "summary": self.totals }))?;
            writeln!(report)?;
            report.flush()?;
        }
        if failed > 0 && io::stdout().is_terminal() {
            writeln!(out, "Run the command again to retry; copied objects are skipped.")?;
        }
        Ok(failed == 0)
    }
}

/// Counts of skipped entries, for the end of a line; empty when there are none.
pub(crate) fn passed_over(markers: usize, special_files: usize) -> String {
    let mut text = String::new();
    if markers > 0 {
        text += &format!("; {markers} folder markers left out");
    }
    if special_files > 0 {
        text += &format!("; {special_files} FIFOs, sockets or devices left out");
    }
    text
}

fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
