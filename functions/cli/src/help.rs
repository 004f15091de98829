//! `gwtm completions` and `gwtm man`: help that other programs show.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

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
    /// The folder for the pages of gwtm and of every command; otherwise gwtm's own goes to standard output.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Prints completions.
///
/// # Errors
/// When standard output is gone.
pub fn completions(options: &CompletionOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "gwtm", &mut script);
    io::stdout().write_all(&script).map_err(Failure::work)
}

/// Writes man pages.
///
/// # Errors
/// When the folder or standard output cannot be written to.
pub fn man(options: &ManOptions) -> Result<(), Failure> {
    let Some(folder) = &options.out else {
        return clap_mangen::Man::new(Arguments::command()).render(&mut io::stdout()).map_err(Failure::work);
    };
    let named = |error: io::Error| Failure::work(format!("folder `{}`: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(named)?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(named)
}
