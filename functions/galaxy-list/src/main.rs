//! The Lambda function `galaxy-list`.

fn main() -> std::process::ExitCode {
    lambda::serve(galaxy_list::Deps::from_config, galaxy_list::handle)
}
