//! The Lambda function `skymap-products`.

fn main() -> std::process::ExitCode {
    lambda::serve(skymap_products::Deps::from_config, skymap_products::handle)
}
