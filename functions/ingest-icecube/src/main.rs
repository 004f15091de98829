//! The Lambda function `ingest-icecube`.

fn main() -> std::process::ExitCode {
    lambda::serve(ingest_icecube::Deps::from_config, ingest_icecube::handle)
}
