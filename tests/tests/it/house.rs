//! Who may know whom: the rules of the house, held by reading manifests and sources.
//!
//! `shared ← science, http-client, runtime ← gracedb, store, treasuremap ← config ← lambda, kafka ← functions ← cli ← tests` ("←": may
//! be a dependency of). Cargo refuses what a manifest does not name; here is what a manifest may name, and what cargo
//! cannot tell: who reads the environment, a clock or a disk, and where the GWTM's spellings stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A source file: its path from the workspace's root, and its lines without comments and unit tests.
struct SourceFile {
    path: String,
    lines: Vec<(usize, String)>,
}

impl SourceFile {
    fn new(path: &str, text: &str) -> Self {
        let all: Vec<&str> = text.lines().collect();
        // Unit tests stand at the end, inline; `mod tests;` elsewhere is a file of its own.
        let is_inline = |i: usize| all.get(i + 1).is_some_and(|line| line.contains("mod ") && line.contains('{'));
        let tests = (0..all.len()).find(|i| all[*i].trim() == "#[cfg(test)]" && is_inline(*i));
        let lines = all[..tests.unwrap_or(all.len())]
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(i, line)| (i + 1, (*line).to_owned()))
            .collect();
        SourceFile { path: path.to_owned(), lines }
    }

    /// Whether the file is in one of the crates that are all of `folders`.
    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(&format!("{folder}/src/")))
    }
}

fn root() -> PathBuf {
    tests::program::workspace()
}

/// Every Rust file of the workspace, tests and benchmarks among them, with its text.
fn all_files() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = ["shared", "functions", "tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("tests/servers") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                files.push((path, text));
            }
        }
    }
    files
}

/// The files that are compiled into programs.
fn sources() -> Vec<SourceFile> {
    let root = root();
    let mut found = Vec::new();
    for (path, text) in all_files() {
        let path = path.strip_prefix(&root).expect("inside");
        // A crate's own tests may do as tests do.
        if !["tests", "benches", "fuzz", "tests.rs"].iter().any(|name| path.iter().any(|part| part == *name)) {
            found.push(SourceFile::new(&path.display().to_string(), &text));
        }
    }
    assert!(found.len() > 20, "expected the workspace's sources, found {} files", found.len());
    found
}

/// Whether `line` names `word` as a whole word.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        // A rule about a path such as `std::fs` ends where it likes; one about a crate's name is a whole word.
        !before.is_some_and(part) && (word.contains("::") || !after.is_some_and(part))
    })
}

/// The lines that name one of `words` although their file may not.
fn offences(sources: &[SourceFile], words: &[&str], rule: &str, may: impl Fn(&SourceFile) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !may(source)) {
        for (number, line) in &source.lines {
            if let Some(word) = words.iter().find(|word| names(line, word)) {
                found.push(format!("{}:{number}: names `{word}`; {rule}\n    {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// What does no I/O, reads no clock and no environment.
fn crates_without_effects(sources: &[SourceFile]) -> Vec<String> {
    let effects = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
        "io::stdin",
        "io::stdout",
        "io::stderr",
        "println",
        "eprintln",
    ];
    let rule = "`shared` and `science` do no I/O and read no clock and no environment";
    offences(sources, &effects, rule, |source| !source.is_in(&["shared", "shared/science"]))
}

/// Who reads the environment.
fn the_environment(sources: &[SourceFile]) -> Vec<String> {
    offences(sources, &["std::env", "env::var", "env::var_os"], "only `config` reads the environment", |source| {
        source.is_in(&["shared/config"])
    })
}

/// The GWTM's spellings and sentinels stay at its door.
fn foreign_spellings(sources: &[SourceFile]) -> Vec<String> {
    let words = ["graceid", "prob_hasremenant", "centralfreq", "alternateid", "timesent_stamp", "-999.9"];
    offences(sources, &words, "the GWTM's spellings live in `treasuremap` alone", |source| {
        source.is_in(&["shared/treasuremap"])
    })
}

/// The types that several crates may declare under one name: what a function touches, each crate its own.
const SHARED_NAMES: [&str; 1] = ["Deps"];

/// The name of the type that a line declares at the top of its module.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub") || word.ends_with(')'));
    let name = words.next().filter(|word| ["struct", "enum", "trait", "type", "union"].contains(word));
    let name = name.and_then(|_| words.next())?;
    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
}

/// One word for one thing: no two types of the workspace have one name.
fn names_of_types(sources: &[SourceFile]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources {
        for (number, line) in &source.lines {
            if let Some(name) = declared(line).filter(|name| !SHARED_NAMES.contains(name)) {
                places.entry(name).or_default().push(format!("{}:{number}", source.path));
            }
        }
    }
    places.retain(|_, places| places.len() > 1);
    let found = places.into_iter();
    found.map(|(name, places)| format!("{}: a name for each type, found `{name}` twice", places.join(", "))).collect()
}

/// What the log macros of a source are called with, strings left out, and at which line.
fn log_calls(source: &SourceFile) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.lines.iter().map(|(_, line)| line.as_str()).collect();
    let text = lines.join("\n");
    let mut calls = Vec::new();
    for (at, _) in text.match_indices("tracing::") {
        let Some((_, arguments)) = text[at..].split_once("!(").filter(|(name, _)| !name.contains(['\n', ' ', '(']))
        else {
            continue;
        };
        let (mut depth, mut quoted, mut escaped, mut plain) = (1, false, false, String::new());
        for c in arguments.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '(' => depth += 1,
                ')' => depth -= 1,
                c => plain.push(c),
            }
            if depth == 0 {
                break;
            }
        }
        calls.push((source.lines[text[..at].matches('\n').count()].0, plain));
    }
    calls
}

/// The names of log fields have no dot: CloudWatch Logs Insights would take them in backticks alone.
fn log_fields(sources: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, arguments) in log_calls(source) {
            for (end, _) in arguments.match_indices(" = ") {
                let part = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
                let name = arguments[..end].rsplit(|c| !part(c)).next().unwrap_or_default();
                if name.contains('.') {
                    found.push(format!(
                        "{}:{number}: logs the field `{name}`; expected a name without a dot",
                        source.path
                    ));
                }
            }
        }
    }
    found
}

/// A crate of the workspace, and what its manifest names beside tests: every feature's dependencies among them.
struct Member {
    name: String,
    dependencies: BTreeSet<String>,
}

/// The crates by tiers: each may depend on those of lower tiers.
const TIERS: [&[&str]; 8] = [
    &["shared"],
    &["science", "http-client", "runtime"],
    &["gracedb", "store", "treasuremap"],
    &["config"],
    &["lambda", "kafka"],
    &[],
    &["cli"],
    &["tests"],
];

/// The tier of every other crate of the folder `functions`.
const FUNCTIONS: usize = 5;

/// Outside crates that only these may name.
const OUTSIDE: [(&str, &[&str]); 14] = [
    ("aws-sdk-s3", &["store"]),
    ("aws-sdk-secretsmanager", &["lambda"]),
    ("aws-sdk-sfn", &["audit", "bridge", "cli"]),
    ("aws-sigv4", &["http-client"]),
    ("aws_lambda_events", &["audit"]),
    ("aws-sdk-sns", &["annotate"]),
    ("fitsio", &["science"]),
    ("lambda_runtime", &["lambda"]),
    ("lettre", &["annotate"]),
    ("moc", &["science"]),
    ("parquet", &["science"]),
    ("rdkafka", &["kafka"]),
    ("reqwest", &["http-client", "store", "treasuremap"]),
    ("tracing-subscriber", &["config"]),
];

fn members() -> Vec<Member> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&output).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let member = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
        Member {
            name: text(&package["name"]),
            dependencies: dependencies.map(|dependency| text(&dependency["name"])).collect(),
        }
    };
    metadata["packages"].as_array().expect("packages").iter().map(member).collect()
}

/// What a cargo command prints.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).arg("--offline").current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Dependencies that go against the tiers, or name what only others may.
fn dependencies_go_one_way(members: &[Member]) -> Vec<String> {
    let tier = |name: &str| {
        let listed = TIERS.iter().position(|tier| tier.contains(&name));
        listed.or_else(|| root().join("functions").join(name).is_dir().then_some(FUNCTIONS))
    };
    let mut found = Vec::new();
    for Member { name, dependencies } in members {
        let own = tier(name);
        let upwards = |other: &&String| tier(other).is_some_and(|other| own.is_none_or(|own| other >= own));
        found.extend(dependencies.iter().filter(upwards).map(|other| format!("`{name}` may not depend on `{other}`")));
        if own.is_none() {
            found.push(format!("`{name}`: expected a tier for every crate"));
        }
        for (outside, may) in OUTSIDE {
            if dependencies.contains(outside) && name != "tests" && !may.contains(&name.as_str()) {
                found.push(format!("`{name}` may not depend on `{outside}`: only {may:?} may"));
            }
        }
    }
    found
}

#[test]
fn the_rules_of_the_house_hold() {
    let sources = sources();
    let rules = [crates_without_effects, the_environment, foreign_spellings, log_fields, names_of_types];
    let mut found: Vec<String> = rules.iter().flat_map(|rule| rule(&sources)).collect();
    found.extend(dependencies_go_one_way(&members()));
    assert!(found.is_empty(), "{} lines break the rules of the house:\n{}", found.len(), found.join("\n"));
}

/// A path compiled into a program would outlive its clone: another clone that shares the target folder would use it, or
/// miss a change of the file (see `.ci/source-times`).
#[test]
fn no_path_of_a_clone_is_compiled_in() {
    let root = root();
    let found: Vec<String> = all_files().iter().flat_map(|(path, text)| paths_compiled_in(path, text)).collect();
    assert!(found.is_empty(), "expected paths relative to the package:\n{}", found.join("\n"));
    let offends = |line: &str| assert_eq!(paths_compiled_in(&root.join("shared/src/lib.rs"), line).len(), 1, "{line}");
    offends(concat!("let x = env!(\"CARGO_", "MANIFEST_DIR\");"));
    offends(concat!("include_str", "!(\"../../Cargo.toml\");"));
}

fn paths_compiled_in(path: &Path, text: &str) -> Vec<String> {
    let package = path.ancestors().find(|folder| folder.join("Cargo.toml").is_file()).expect("a package");
    let package = package.canonicalize().expect("a folder");
    let folder = path.parent().expect("a folder");
    let outside = |line: &str| {
        let included = ["include", "include_str", "include_bytes"].iter().filter_map(|name| {
            let (_, rest) = line.split_once(&format!("{name}!(\""))?;
            rest.split_once('"').map(|(file, _)| folder.join(file))
        });
        included.into_iter().any(|file| !file.canonicalize().is_ok_and(|file| file.starts_with(&package)))
    };
    let offends = |line: &str| line.contains(concat!("env!(\"CARGO_", "MANIFEST_DIR\")")) || outside(line);
    let lines = text.lines().enumerate().filter(|(_, line)| offends(line));
    lines.map(|(i, line)| format!("{}:{}: {}", path.display(), i + 1, line.trim())).collect()
}

/// `cargo doc` takes a unit in brackets for a link, and finds nothing of that name: minutes after the tests.
#[test]
fn units_in_public_docs_are_escaped() {
    let found: Vec<String> = all_files()
        .iter()
        .flat_map(|(path, text)| units_as_links(text).into_iter().map(move |line| format!("{}:{line}", path.display())))
        .collect();
    assert!(found.is_empty(), "expected a backslash before each bracket of a unit:\n{}", found.join("\n"));
    for (documented, count) in [
        ("/// Size [KiB].\n#[derive(Debug)]\npub struct A;", 1),
        ("/// Size [KiB],\n/// of all.\npub a: u8,", 1),
        ("//! Sizes [KiB].\n", 1),
        ("/// Size \\[KiB\\].\npub a: u8,", 0),
        ("/// Size [deg²] or [deg].\npub a: u8,", 0),
        ("/// Size [`KiB`], [KiB](a::KiB), `[KiB]`.\npub a: u8,", 0),
        ("    /// Size [KiB].\n    Variant,", 1),
        ("/// Size [KiB].\npub(crate) struct A;", 0),
        ("/// Size [KiB].\nstruct A;\npub struct B;", 0),
    ] {
        assert_eq!(units_as_links(documented).len(), count, "{documented}");
    }
}

/// The lines of public documentation with a name in brackets that is neither escaped nor in backticks.
fn units_as_links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut documentation = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(of_module) = line.strip_prefix("//!") {
            found.extend(is_unit_as_link(of_module).then(|| format!("{}: {line}", i + 1)));
        } else if let Some(of_item) = line.strip_prefix("///") {
            documentation.extend(is_unit_as_link(of_item).then(|| format!("{}: {line}", i + 1)));
        } else if !line.starts_with("#[") {
            let of_item = std::mem::take(&mut documentation);
            // A variant has no `pub` of its own.
            let is_public = line.starts_with("pub ") || line.starts_with(|c: char| c.is_ascii_uppercase());
            found.extend(of_item.into_iter().filter(|_| is_public));
        }
    }
    found
}

fn is_unit_as_link(line: &str) -> bool {
    let prose: String = line.split('`').step_by(2).collect();
    prose.match_indices('[').any(|(at, _)| {
        let rest = &prose[at + 1..];
        let Some((name, after)) = rest.split_once(']') else { return false };
        // Words of small letters alone are never taken for links.
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.chars().all(|c| c.is_ascii_lowercase());
        is_name && !prose[..at].ends_with('\\') && !after.starts_with(['(', '[', ':'])
    })
}

#[test]
fn one_log_directive_covers_every_crate() {
    let crates: BTreeSet<String> = members().into_iter().map(|member| member.name.replace('-', "_")).collect();
    let logged: BTreeSet<String> = config::CRATES.iter().chain(&["tests"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(logged, crates);
}

#[test]
fn every_rule_finds_its_offence() {
    let offends = |rule: fn(&[SourceFile]) -> Vec<String>, path: &str, line: &str| {
        assert_eq!(rule(&[SourceFile::new(path, line)]).len(), 1, "{path}: {line}");
        assert_eq!(rule(&[SourceFile::new(path, &format!("// {line}"))]).len(), 0, "a comment in {path}: {line}");
    };
    offends(crates_without_effects, "shared/science/src/skymap/flat.rs", "use std::fs::File;");
    offends(crates_without_effects, "shared/src/notice/mod.rs", "let now = Timestamp::now();");
    offends(the_environment, "functions/cli/src/run.rs", "let x = std::env::var(name);");
    offends(foreign_spellings, "shared/src/message.rs", "pub graceid: String,");
    offends(
        log_fields,
        "functions/post-api/src/view.rs",
        r#"tracing::warn!(id, alert.name = %of(&name), "\"a = b\"");"#,
    );
    assert!(log_fields(&[SourceFile::new("a.rs", r#"tracing::warn!(n = a.n(), "a.b = {c}"); d.e = f;"#)]).is_empty());
    for (other, places) in [
        ("pub(crate) struct Content {", 1),
        ("pub(in crate::a) enum Content<'a> {", 1),
        ("type Content = u8;", 1),
        ("    type Content = u8;", 0),
        ("pub struct Contents;", 0),
        ("// struct Content;", 0),
    ] {
        let sources = [SourceFile::new("a.rs", "pub trait Content: Send {"), SourceFile::new("b.rs", other)];
        assert_eq!(names_of_types(&sources).len(), places, "{other}");
    }
    // A declaration of a test file does not end what is read.
    let hidden = SourceFile::new("shared/science/src/skymap/b.rs", "#[cfg(test)]\nmod tests;\nuse std::fs::File;\n");
    assert_eq!(crates_without_effects(&[hidden]).len(), 1);
    let tests = "let x = 1;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
    assert!(crates_without_effects(&[SourceFile::new("shared/science/src/skymap/a.rs", tests)]).is_empty());

    for (name, dependency) in
        [("post-api", "ingest-ligo"), ("science", "store"), ("store", "kafka"), ("cli", "rdkafka"), ("new", "tokio")]
    {
        let member = Member { name: name.to_owned(), dependencies: [dependency.to_owned()].into() };
        assert_eq!(dependencies_go_one_way(&[member]).len(), 1, "{name} → {dependency}");
    }
}

/// What a crate compiles, with what its dependencies depend on.
fn compiled(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn crates_compile_no_more_than_they_need() {
    let absent = |package: &str, others: &[&str]| {
        let compiled = compiled(package);
        assert!(compiled.contains("serde_json"), "{package}: {compiled:?}");
        for other in others {
            assert!(!compiled.contains(*other), "`{package}` compiles `{other}`");
        }
    };
    absent("shared", &["tokio", "reqwest", "fitsio", "moc", "parquet"]);
    absent("science", &["tokio", "reqwest", "rustls"]);
    absent("post-api", &["fitsio", "fitsio-sys", "parquet", "moc", "rdkafka"]);
    absent("bridge", &["fitsio", "parquet", "moc", "lambda_runtime"]);
    absent("cli", &["aws-config", "rdkafka", "lambda_runtime"]);
}
