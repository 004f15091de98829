//! The Lambda function `audit`.

use audit::scheduled::{ScheduledAudit, handle};

fn main() -> std::process::ExitCode {
    lambda::serve(ScheduledAudit::from_config, handle)
}
