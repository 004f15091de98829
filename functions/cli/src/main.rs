//! `gwtm`: the Treasure Map functions in one program.

use std::process::ExitCode;

use cli::arguments::Command;

fn main() -> ExitCode {
    let arguments = cli::help::parse();
    runtime::run(async {
        let done = match arguments.command {
            Command::Run(options) => cli::run::run(&options).await,
            Command::Check(options) => cli::check::check(&options).await,
            Command::Notify(options) => cli::notify::notify(&options).await,
            Command::Completions(options) => cli::help::completions(&options).map(|()| true),
            Command::Man(options) => cli::help::man(&options).map(|()| true),
            #[cfg(feature = "kafka")]
            Command::Listen(options) => cli::listen::listen(&options).await.map(|()| true),
            #[cfg(feature = "kafka")]
            Command::Healthy => cli::listen::healthy().await.map(|()| true),
            #[cfg(feature = "kafka")]
            Command::List(options) => cli::replay::list(&options).await.map(|()| true),
            #[cfg(feature = "kafka")]
            Command::Replay(options) => cli::replay::replay(&options).await,
            Command::Gracedb(options) => cli::gracedb::gracedb(&options).await,
            Command::Audit(options) => cli::audit::audit(&options).await,
            Command::Where(options) => options.run().await.map(|()| true),
            Command::Failed(options) => options.run().await,
            Command::Catalog(command) => command.run().await.map(|()| true),
            Command::Migrate(options) => options.run().await,
            Command::Store(options) => options.run().await,
            Command::Simulate(options) => options.run().map(|()| true),
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(if error.usage { 2 } else { 1 })
            }
        }
    })
}
