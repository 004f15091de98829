//! The Lambda function `galaxy-list`.

fn main() -> std::process::ExitCode {
    shared::lambda::serve(galaxy_list::Deps::from_config, galaxy_list::handle)
}
