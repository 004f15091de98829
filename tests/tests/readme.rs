//! The README says what is so.

use std::fs;

use shared::config::SETTINGS;
use tests::program::workspace;

fn readme() -> String {
    fs::read_to_string(workspace().join("README.md")).expect("the README")
}

#[test]
fn the_readme_lists_every_setting_as_the_code_documents_it() {
    let readme = readme();
    for setting in SETTINGS {
        let row = format!("| `{}` | {} | {} |", setting.name, setting.default, setting.purpose);
        assert!(readme.contains(&row), "README.md: expected the row\n{row}");
    }
}

#[test]
fn the_readmes_commands_are_there() {
    let readme = readme();
    for command in ["events/try", "tests/run"] {
        assert!(readme.contains(&format!("\n{command} ")), "{command}");
        let path = workspace().join(command);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a script").permissions());
        assert!(mode & 0o111 != 0, "{command} can be run");
    }
    let ci = fs::read_to_string(workspace().join(".ci/run")).expect(".ci/run");
    assert!(ci.contains("./tests/run"), ".ci/run calls the README's test command");
}
