//! The Lambda function `audit`.

use audit::scheduled::{Function, handle};

fn main() -> std::process::ExitCode {
    lambda::serve(Function::from_config, handle)
}
