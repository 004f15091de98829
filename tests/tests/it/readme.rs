//! The README and the documentation match the code.

use std::fs;

use config::{KAFKA_SETTINGS, LAMBDA_SETTINGS, Setting};
use tests::program::workspace;

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_settings_page_lists_exactly_the_declared_settings() {
    let page = read("docs/settings.md");
    let row = |Setting { name, default, purpose, .. }: &Setting| format!("| `{name}` | {default} | {purpose} |");
    let declared: Vec<String> = config::settings().chain(KAFKA_SETTINGS).chain(LAMBDA_SETTINGS).map(row).collect();
    let (tables, _) = page.split_once("\n## Where objects are kept").expect("the section on stores");
    let listed: Vec<&str> = tables.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, declared, "docs/settings.md differs from the declarations");
}

#[test]
fn the_readmes_commands_are_there() {
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
