//! The README says what is so.

use std::fs;

use config::{KAFKA_SETTINGS, LAMBDA_SETTINGS, Setting};
use tests::program::workspace;

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_readmes_list_every_setting_as_the_code_documents_it() {
    let of_all = config::settings().map(|setting| ("README.md", setting));
    let of_aws = KAFKA_SETTINGS.iter().chain(LAMBDA_SETTINGS).map(|setting| ("infra/README.md", setting));
    for (file, Setting { name, default, purpose, .. }) in of_all.chain(of_aws) {
        let row = format!("| `{name}` | {default} | {purpose} |");
        assert!(read(file).contains(&row), "{file}: expected the row\n{row}");
    }
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
