//! The README and the documentation match the code.

use std::fs;

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
