//! Who may know whom: the rules of the house, held by reading its sources.
//!
//! `error, key ← fits, notice, skymap, visibility, galaxy ← message ← treasuremap, store, config, fetch, flow, lambda
//! ← functions ← cli ← tests` ("←": may be imported by).

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the workspace's root, and its lines without comments and unit tests.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

impl Source {
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
        Source { path: path.to_owned(), lines }
    }

    /// The room of `shared/` that the file is in, such as `skymap`.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("shared/src/")?;
        Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
    }

    /// The function whose crate the file belongs to, such as `post-api`.
    fn function(&self) -> Option<&str> {
        self.path.strip_prefix("functions/")?.split('/').next()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["shared/src", "functions"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "expected the workspace's sources, found {} files", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // A crate's own tests may do as tests do.
            if !path.ends_with("tests") && !path.ends_with("benches") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let name = path.strip_prefix(root()).expect("inside").display().to_string();
            found.push(Source::new(&name, &fs::read_to_string(&path).expect("text")));
        }
    }
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
fn offences(sources: &[Source], words: &[&str], rule: &str, may: impl Fn(&Source) -> bool) -> Vec<String> {
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

const SCIENCE: [&str; 4] = ["notice", "skymap", "visibility", "galaxy"];
const PURE: [&str; 4] = ["error", "key", "fits", "message"];

/// Rule 1: what does no I/O, reads no clock and no environment.
fn rooms_without_effects(sources: &[Source]) -> Vec<String> {
    let effects = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "tokio",
        "reqwest",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
        "io::stdin",
        "io::stdout",
        "io::stderr",
        "tempfile",
        "println",
        "eprintln",
    ];
    let rule = "notice, skymap, visibility, galaxy, fits, key, error and message do no I/O and read no clock and no environment";
    offences(sources, &effects, rule, |source| {
        !source.room().is_some_and(|room| SCIENCE.contains(&room) || PURE.contains(&room))
    })
}

/// The rooms that a line names: `crate::store`, or each of `crate::{key::Key, store, Error}`.
fn imported(line: &str) -> Vec<String> {
    let room = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(inside) => rooms.extend(inside.split(',').map(|item| room(item.trim()))),
            None => rooms.push(room(rest)),
        }
    }
    rooms
}

/// Rule 1: who imports whom inside `shared/`.
fn imports_go_one_way(sources: &[Source]) -> Vec<String> {
    let tier = |room: &str| match room {
        "error" | "key" => 0,
        "fits" => 1,
        "notice" | "skymap" | "visibility" | "galaxy" => 2,
        "message" => 3,
        _ => 4,
    };
    let mut found = Vec::new();
    for source in sources {
        let Some(room) = source.room().filter(|room| *room != "lib") else { continue };
        for (number, line) in &source.lines {
            for other in imported(line) {
                let same_tier = tier(room) == 4 || (room, other.as_str()) == ("galaxy", "skymap") || tier(room) == 0;
                if other.is_empty()
                    || other == room
                    || tier(&other) < tier(room)
                    || (tier(&other) == tier(room) && same_tier)
                {
                    continue;
                }
                found.push(format!("{}:{number}: `{room}` may not import `{other}`\n    {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// Rule 2: who names an outside system.
fn outside_systems(sources: &[Source]) -> Vec<String> {
    let in_room = |source: &Source, rooms: &[&str]| source.room().is_some_and(|room| rooms.contains(&room));
    let mut found =
        offences(sources, &["aws_sdk_s3", "opendal", "object_store"], "only `store` names a storage SDK", |source| {
            in_room(source, &["store"])
        });
    found.extend(offences(
        sources,
        &["reqwest", "hyper"],
        "only `treasuremap`, `fetch` and the store's `http` name an HTTP client",
        |source| in_room(source, &["treasuremap", "fetch"]) || source.path == "shared/src/store/http.rs",
    ));
    found.extend(offences(
        sources,
        &["std::env", "env::var", "env::var_os"],
        "only `config` reads the environment",
        |source| in_room(source, &["config"]),
    ));
    found.extend(offences(sources, &["aws_sdk_sns"], "only `annotate` names SNS", |source| {
        source.function() == Some("annotate")
    }));
    found.extend(offences(sources, &["rdkafka"], "only `bridge` names rdkafka", |source| {
        source.function() == Some("bridge")
    }));
    found.extend(offences(
        sources,
        &["lambda_runtime"],
        "only `lambda.rs` and the mains name lambda_runtime",
        |source| in_room(source, &["lambda"]) || (source.function().is_some() && source.path.ends_with("/src/main.rs")),
    ));
    found
}

/// Rule 3: a function never imports another; the command line imports several.
fn functions_stand_alone(sources: &[Source]) -> Vec<String> {
    let crates =
        ["annotate", "bridge", "galaxy_list", "ingest_icecube", "ingest_ligo", "post_api", "skymap_products", "cli"];
    let mut found = Vec::new();
    for function in crates {
        let paths = [format!("{function}::"), format!("use {function};")];
        let words: Vec<&str> = paths.iter().map(String::as_str).collect();
        let own = function.replace('_', "-");
        found.extend(offences(sources, &words, "a function never imports another", |source| {
            source.function() == Some(own.as_str()) || (source.function() == Some("cli") && function != "cli")
        }));
    }
    found
}

/// Rule 4: the GWTM's spellings and sentinels stay at its door.
fn foreign_spellings(sources: &[Source]) -> Vec<String> {
    let words = ["graceid", "prob_hasremenant", "centralfreq", "alternateid", "timesent_stamp", "-999.9"];
    offences(sources, &words, "the GWTM's spellings live in `treasuremap` alone", |source| {
        source.room() == Some("treasuremap")
    })
}

#[test]
fn the_rules_of_the_house_hold() {
    let sources = sources();
    let rules = [rooms_without_effects, imports_go_one_way, outside_systems, functions_stand_alone, foreign_spellings];
    let found: Vec<String> = rules.iter().flat_map(|rule| rule(&sources)).collect();
    assert!(found.is_empty(), "{} lines break the rules of the house:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_rule_finds_its_offence() {
    let offends = |rule: fn(&[Source]) -> Vec<String>, path: &str, line: &str| {
        assert_eq!(rule(&[Source::new(path, line)]).len(), 1, "{path}: {line}");
        assert_eq!(rule(&[Source::new(path, &format!("// {line}"))]).len(), 0, "a comment in {path}: {line}");
    };
    offends(rooms_without_effects, "shared/src/skymap/flat.rs", "use std::fs::File;");
    offends(rooms_without_effects, "shared/src/visibility/orbit.rs", "let now = Timestamp::now();");
    offends(imports_go_one_way, "shared/src/skymap/mod.rs", "use crate::galaxy::Settings;");
    offends(imports_go_one_way, "shared/src/notice/igwn.rs", "use crate::store::Store;");
    offends(imports_go_one_way, "shared/src/visibility/earth.rs", "use crate::skymap::Cell;");
    offends(imports_go_one_way, "shared/src/key.rs", "use crate::notice::NoticeKind;");
    offends(imports_go_one_way, "shared/src/key.rs", "use crate::{Error, notice::NoticeKind, Result};");
    offends(outside_systems, "functions/post-api/src/lib.rs", "use aws_sdk_s3::Client;");
    offends(outside_systems, "shared/src/store/s3.rs", "let x = reqwest::get(url);");
    offends(outside_systems, "functions/cli/src/run.rs", "let x = std::env::var(name);");
    offends(outside_systems, "functions/post-api/src/lib.rs", "use aws_sdk_sns::Client;");
    offends(outside_systems, "functions/cli/src/listen.rs", "use rdkafka::Message;");
    offends(outside_systems, "functions/post-api/src/lib.rs", "use lambda_runtime::run;");
    offends(functions_stand_alone, "functions/post-api/src/lib.rs", "use ingest_ligo::Deps;");
    offends(functions_stand_alone, "shared/src/flow.rs", "use ingest_ligo::handle;");
    offends(foreign_spellings, "shared/src/message.rs", "pub graceid: String,");
    // What is allowed is not found.
    let allowed = Source::new("functions/cli/src/functions.rs", "use post_api::Deps;\n");
    assert!(functions_stand_alone(&[allowed]).is_empty());
    let allowed = Source::new("shared/src/galaxy/rank.rs", "use crate::skymap::Cell;\n");
    assert!(imports_go_one_way(&[allowed]).is_empty());
    // A declaration of a test file does not end what is read.
    let hidden = Source::new("shared/src/skymap/b.rs", "#[cfg(test)]\nmod tests;\nuse std::fs::File;\n");
    assert_eq!(rooms_without_effects(&[hidden]).len(), 1);
    let allowed = Source::new("shared/src/skymap/a.rs", "let x = 1;\n#[cfg(test)]\nmod tests { use std::fs; }\n");
    assert!(rooms_without_effects(&[allowed]).is_empty());
}

#[test]
fn manifests_keep_functions_apart() {
    let functions =
        ["annotate", "bridge", "galaxy-list", "ingest-icecube", "ingest-ligo", "post-api", "skymap-products"];
    for function in functions {
        let manifest =
            fs::read_to_string(root().join("functions").join(function).join("Cargo.toml")).expect("a manifest");
        for other in functions.iter().chain(&["cli"]).filter(|other| **other != function) {
            let depends = manifest
                .lines()
                .any(|line| line.starts_with(&format!("{other} ")) || line.starts_with(&format!("{other}.")));
            assert!(!depends, "functions/{function}/Cargo.toml: `{function}` may not depend on `{other}`");
        }
    }
}
