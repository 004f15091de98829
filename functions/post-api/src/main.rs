//! `post-api` as a Lambda function.

use std::process::ExitCode;

use post_api::{Deps, handle};

fn main() -> ExitCode {
    lambda::serve(Deps::from_config, handle)
}
