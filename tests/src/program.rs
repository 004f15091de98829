//! Runs the program `gwtm`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The workspace's folder: the working directory or above it. Not `CARGO_MANIFEST_DIR`, which would compile one clone's
/// path into programs that other clones run.
///
/// # Panics
/// When it is not there.
pub fn workspace() -> PathBuf {
    let here = std::env::current_dir().expect("a working directory");
    let found = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    found.unwrap_or_else(|| panic!("expected the workspace above {}", here.display())).to_owned()
}

/// A bundled sample notice.
///
/// # Panics
/// When there is none of that name.
pub fn sample(name: &str) -> PathBuf {
    let path = workspace().join("events/notices").join(name);
    assert!(path.is_file(), "expected the sample notice {}", path.display());
    path
}

/// A bundled sample notice, parsed.
///
/// # Panics
/// When there is none of that name.
pub fn parsed_sample(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sample(name)).expect("a notice")).expect("JSON")
}

/// The folder of real alerts and reference values, if it exists beside the workspace.
///
/// It is not part of the project; a test that uses it prints `skipped` and passes when it is absent.
pub fn reference_data() -> Option<PathBuf> {
    let folder = workspace().join("../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} does not exist", folder.display());
    None
}

/// A binary of the workspace.
///
/// # Panics
/// When it has not been built (`tests/run` builds it before the tests).
pub fn binary(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // Test programs are in `deps`, the workspace's programs in its parent.
    let folder = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let path = folder.unwrap_or(Path::new("target/debug")).join(name);
    assert!(
        path.is_file(),
        "expected {}: build it first (`cargo build --workspace --bins`; tests/run does)",
        path.display()
    );
    path
}

/// A call of `gwtm` with only the given settings.
#[derive(Debug)]
pub struct Gwtm(Command);

/// The result of a call.
#[derive(Debug)]
pub struct Called {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Called {
    /// The JSON objects on standard output, one per line.
    ///
    /// # Panics
    /// When a line is not JSON.
    pub fn json(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", self.stderr));
        self.stdout.lines().map(parse).collect()
    }
}

impl Gwtm {
    /// `gwtm` with arguments.
    pub fn new<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(binary("gwtm"));
        command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Tests must not use the network: point downloads to a closed port.
        for name in ["FERMI_TLE_URL", "FERMI_FT2_URL", "SWIFT_POINTING_URL", "GRACEDB_URL"] {
            command.env(name, "http://127.0.0.1:9/");
        }
        Gwtm(command)
    }

    /// `gwtm run` into a folder.
    pub fn run<A: AsRef<std::ffi::OsStr>>(store: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut gwtm = Gwtm::new(["run", "--store"]);
        gwtm.0.arg(store).args(arguments);
        gwtm
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Adds the settings of a store, with a prefix such as `SOURCE_`.
    #[must_use]
    pub fn set_store(mut self, prefix: &str, settings: &crate::backend::Settings) -> Self {
        for (name, value) in settings {
            self.0.env(format!("{prefix}{name}"), value);
        }
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn inside(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Discards its output.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.0.stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    /// Runs it to the end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn call(self) -> Called {
        self.call_with(&[])
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Child {
        self.0.spawn().expect("gwtm starts")
    }

    /// Runs it to the end with bytes on standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn call_with(mut self, input: &[u8]) -> Called {
        let mut child = self.0.stdin(Stdio::piped()).spawn().expect("gwtm starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        // It may end before reading everything.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let Output { status, stdout, stderr } = child.wait_with_output().expect("gwtm ends");
        feeder.join().expect("the feeder ends");
        Called {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

/// The most memory that a running process has had \[KiB\]; none after its end.
pub fn peak_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Waits for a process; returns how it ended, and the most memory that it had \[KiB\].
///
/// # Panics
/// When its state cannot be read.
pub fn ended_with_peak(child: &mut Child) -> (ExitStatus, u64) {
    let mut peak = 0;
    loop {
        peak = peak_kib(child.id()).unwrap_or(peak);
        if let Some(ended) = child.try_wait().expect("its state") {
            return (ended, peak);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a GET; returns status and body, or `None` without a response.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: health\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// The bytes of every file below a folder, by relative path.
///
/// # Panics
/// When the folder cannot be read.
pub fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("inside").display().to_string();
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}
