//! The Lambda function `notify`.

use annotate::notify::{Deps, handle};

fn main() -> std::process::ExitCode {
    lambda::serve(Deps::from_config, handle)
}
