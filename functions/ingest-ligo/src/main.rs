//! The Lambda function `ingest-ligo`.

fn main() -> std::process::ExitCode {
    lambda::serve(ingest_ligo::Deps::from_config, ingest_ligo::handle)
}
