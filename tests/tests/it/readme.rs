//! The README and the documentation match the code.

use std::fs;

use clap::error::ErrorKind;
use config::{KAFKA_SETTINGS, LAMBDA_SETTINGS, Setting};
use tests::program::workspace;

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Compares a file with its expected content; with BLESS=1, writes the file.
fn generated(file: &str, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(workspace().join(file), expected).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    assert!(read(file) == expected, "{file} differs from the declared settings: run this test with BLESS=1");
}

#[test]
fn the_settings_page_lists_exactly_the_declared_settings() {
    let page = read("docs/settings.md");
    let rows = |settings: Vec<&Setting>| -> String {
        let row = |Setting { name, default, purpose, .. }: &&Setting| format!("| `{name}` | {default} | {purpose} |\n");
        settings.iter().map(row).collect()
    };
    let mut tables = [config::settings().collect(), KAFKA_SETTINGS.iter().collect(), LAMBDA_SETTINGS.iter().collect()]
        .map(rows)
        .into_iter();
    // A table's head and the rows under it, in the order of the page.
    let (before, stores) = page.split_once("\n## Where objects are kept").expect("the section on stores");
    let mut expected = String::new();
    for line in before.lines().filter(|line| !line.starts_with("| `")) {
        expected += &format!("{line}\n");
        if line == "|---|---|---|" {
            expected += &tables.next().expect("three tables");
        }
    }
    assert_eq!(tables.next(), None, "docs/settings.md: expected three tables");
    generated("docs/settings.md", &format!("{expected}\n## Where objects are kept{stores}"));
}

/// Every setting of a listener with its purpose; lines that are not commented out keep their values.
#[test]
fn env_example_lists_exactly_the_settings_of_a_listener() {
    let example = read(".env.example");
    let (head, _) = example.split_once("# ---").expect("a section");
    let set: Vec<&str> = example.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).collect();
    let entry = |Setting { name, default, purpose, .. }: &Setting| {
        let line = set.iter().find(|line| line.split('=').next() == Some(*name));
        let line = line.map_or_else(|| format!("#{name}="), |line| (*line).to_owned());
        format!("# {} ({})\n{line}\n\n", purpose.replace('`', ""), default.replace('`', ""))
    };
    let kafka: String = KAFKA_SETTINGS.iter().filter(|setting| !setting.name.contains("FLOW")).map(entry).collect();
    let others: String = config::settings().map(entry).collect();
    let expected = format!("{head}# --- GCN's Kafka, and health ---\n\n{kafka}# --- Everything else ---\n\n{others}");
    generated(".env.example", &format!("{}\n", expected.trim_end()));
    let secrets: Vec<&str> = config::secrets().collect();
    for line in set {
        let (name, value) = line.split_once('=').expect("a value");
        assert!(value.is_empty() || !secrets.contains(&name), ".env.example: {name} is a secret, expected no value");
    }
}

#[test]
fn commands_of_the_readme_exist() {
    let readme = read("README.md");
    for command in ["events/try", "tests/run"] {
        assert!(readme.contains(&format!("\n{command} ")), "{command}");
        let path = workspace().join(command);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a script").permissions());
        assert!(mode & 0o111 != 0, "{command} can be run");
    }
    let ci = fs::read_to_string(workspace().join(".ci/run")).expect(".ci/run");
    assert!(ci.contains("./tests/run"), ".ci/run calls the README's test command");
}

/// The arguments of each call of `gwtm` in a line of a shell.
fn calls(line: &str) -> Vec<Vec<&str>> {
    let line = line.split(" #").next().unwrap_or(line);
    let mut found = Vec::new();
    for part in line.split(['|', ';', '&', '<', '>']) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let starts = |at: &usize| {
            let is_gwtm = words[*at] == "gwtm" || words[*at].ends_with("/gwtm");
            is_gwtm && (*at == 0 || ["--", "-v", "time"].contains(&words[*at - 1]))
        };
        if let Some(at) = (0..words.len()).find(starts) {
            found.push(words[at + 1..].to_vec());
        }
    }
    found
}

/// The calls of `gwtm` in a document, and whether each is whole: in blocks of `sh` they are, in sentences they may leave out
/// arguments.
fn calls_in(document: &str) -> Vec<(Vec<&str>, bool)> {
    let mut found = Vec::new();
    for (number, part) in document.split("```").enumerate() {
        if number % 2 == 0 {
            let spans = part.split('`').skip(1).step_by(2);
            found.extend(spans.flat_map(calls).map(|call| (call, false)));
        } else if let Some(block) = part.strip_prefix("sh\n") {
            found.extend(block.lines().flat_map(calls).map(|call| (call, true)));
        }
    }
    found.retain(|(call, _)| !call.is_empty());
    found
}

/// Why the command line refuses a call.
fn refusal(call: &[&str], is_whole: bool) -> Option<String> {
    let mut words = vec!["gwtm"];
    // Placeholders of values that are checked.
    words.extend(call.iter().map(|word| match *word {
        "N" => "1",
        "ID" => "S230518h",
        word => word,
    }));
    if is_whole {
        return cli::help::command().try_get_matches_from(words).err().map(|error| error.to_string());
    }
    // Asking for help ends the call after what is there has been read, and before what is missing is noticed.
    words.push("--help");
    let error = cli::help::command().try_get_matches_from(words).err()?;
    let has_no_value =
        call.last().is_some_and(|word| word.starts_with("--")) && error.kind() == ErrorKind::InvalidValue;
    (error.kind() != ErrorKind::DisplayHelp && !has_no_value).then(|| error.to_string())
}

#[test]
fn calls_of_gwtm_in_the_documents_are_accepted_by_its_command_line() {
    let mut documents = vec!["README.md".to_owned(), "infra/README.md".to_owned()];
    for entry in fs::read_dir(workspace().join("docs")).expect("docs/") {
        documents.push(format!("docs/{}", entry.expect("a file").file_name().to_string_lossy()));
    }
    let mut count = 0;
    for document in documents.iter().filter(|name| name.ends_with(".md")) {
        for (call, is_whole) in calls_in(&read(document)) {
            count += 1;
            let refusal = refusal(&call, is_whole);
            assert_eq!(refusal, None, "{document}: gwtm {}", call.join(" "));
        }
    }
    assert!(count > 80, "expected the documents' calls of gwtm, found {count}");

    let sample = "`gwtm run --renamed` `gwtm run --jobs N` `gwtm gone` `gwtm list --since`\n```sh\ngwtm run # no notice\n\
                  time target/release/gwtm run a.json && kubectl exec x -- gwtm check\nhelm install gwtm chart\n```\n";
    let refused: Vec<bool> =
        calls_in(sample).iter().map(|(call, is_whole)| refusal(call, *is_whole).is_some()).collect();
    assert_eq!(refused, [true, false, true, false, true, false, false]);
}
