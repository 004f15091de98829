//! The Lambda function `annotate`.

fn main() -> std::process::ExitCode {
    lambda::serve(annotate::Deps::from_config, annotate::handle)
}
