//! Help: that of every command, and `gwtm completions` and `gwtm man`, which other programs show.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;
use shared::Context;

use crate::Failure;
use crate::arguments::Arguments;

/// Options of `gwtm completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm completions bash > ~/.local/share/bash-completion/completions/gwtm
  gwtm completions zsh > ~/.zfunc/_gwtm
  gwtm completions fish > ~/.config/fish/completions/gwtm.fish")]
pub struct CompletionOptions {
    /// The shell.
    pub shell: Shell,
}

/// Options of `gwtm man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm man --out ~/.local/share/man/man1    then: man gwtm, man gwtm-run
  gwtm man | man -l -")]
pub struct ManOptions {
    /// Folder for the pages of gwtm and of every command [default: print gwtm's page to standard output].
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// The command line, as it is read and as its help is printed.
pub fn command() -> Command {
    reflowed(Arguments::command())
}

/// Reads the command line; help, version and wrong usage end the process.
pub fn parse() -> Arguments {
    let matches = command().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// A command, and those below it, whose help wraps at the terminal's width alone.
fn reflowed(command: Command) -> Command {
    let text = command.get_after_help().map(|text| joined(&text.to_string()));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(reflowed)
}

/// A text without the line ends inside its sentences, which the source has at its own width. Lines that are indented, and
/// lines that end a sentence, stay.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut before = "";
    for line in text.lines() {
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        let goes_on = is_prose(before) && is_prose(line) && !before.ends_with(['.', ':', ';']);
        if !joined.is_empty() {
            joined.push(if goes_on { ' ' } else { '\n' });
        }
        joined.push_str(line);
        before = line;
    }
    joined
}

/// Prints completions.
///
/// # Errors
/// When standard output is gone.
pub fn completions(options: &CompletionOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command(), "gwtm", &mut script);
    io::stdout().write_all(&script).map_err(Failure::work)
}

/// Writes man pages.
///
/// # Errors
/// When the folder or standard output cannot be written to.
pub fn man(options: &ManOptions) -> Result<(), Failure> {
    let Some(folder) = &options.out else {
        return clap_mangen::Man::new(command()).render(&mut io::stdout()).map_err(Failure::work);
    };
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command(), folder));
    written.permanent(format_args!("folder `{}`", folder.display())).map_err(Failure::work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_joined_and_examples_stay() {
        let text = "Examples:\n  gwtm run a.json     once\n  gwtm run b/\n\nOne sentence that\ngoes on. And\nends.\nExit code: 0 all\ndone.";
        let expected = "Examples:\n  gwtm run a.json     once\n  gwtm run b/\n\nOne sentence that goes on. And ends.\nExit code: 0 all done.";
        assert_eq!(joined(text), expected);
    }

    /// Every command with its name, those below others too.
    fn all(command: Command, name: String, found: &mut Vec<(String, Command)>) {
        for below in command.get_subcommands() {
            all(below.clone(), format!("{name} {}", below.get_name()), found);
        }
        found.push((name, command));
    }

    #[test]
    fn the_help_of_every_command_is_wrapped_once() {
        let mut commands = Vec::new();
        let mut root = command();
        root.build();
        all(root, "gwtm".to_owned(), &mut commands);
        assert!(commands.len() > 20, "{}", commands.len());
        for width in [80, 100] {
            for (name, command) in &commands {
                for (kind, help) in [
                    ("-h", command.clone().term_width(width).render_help().to_string()),
                    ("--help", command.clone().term_width(width).render_long_help().to_string()),
                ] {
                    let lines: Vec<&str> = help.lines().collect();
                    for line in &lines {
                        // A word that is longer than the line cannot be wrapped.
                        let is_long = line.chars().count() > width && line.trim_start().contains(' ');
                        assert!(
                            !is_long || line.trim_start().starts_with("Usage:"),
                            "{name} {kind} at {width}: {line}"
                        );
                    }
                    for pair in lines.windows(2) {
                        let indent = |line: &str| line.len() - line.trim_start().len();
                        let prose = |line: &str| !line.trim().is_empty() && !matches!(indent(line), 1..=9);
                        if !prose(pair[0]) || !prose(pair[1]) || indent(pair[0]) != indent(pair[1]) {
                            continue;
                        }
                        let next = pair[1].split_whitespace().next().unwrap_or_default();
                        let fits = pair[0].chars().count() + 1 + next.chars().count() <= width;
                        let ends = pair[0].ends_with(['.', ':', ';']) || next.starts_with('[') || next.starts_with('-');
                        assert!(
                            !fits || ends,
                            "{name} {kind} at {width}: wrapped before `{next}`:\n{}\n{}",
                            pair[0],
                            pair[1]
                        );
                    }
                }
            }
        }
    }
}
