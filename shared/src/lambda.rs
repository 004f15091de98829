//! How a handler becomes a Lambda function.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::{Error, Result};

/// The error's class becomes Lambda's `errorType`, which is what the flows' retry policies match on.
impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Diagnostic { error_type: error.class().as_str().to_owned(), error_message: error.to_string() }
    }
}

/// Serves a handler until Lambda ends the process: settings and `Deps` once, then one call after another.
///
/// A setting that is missing or malformed ends the process with exit code 1 and says so on standard error.
pub fn serve<D, I, O>(build: impl AsyncFn(&Config) -> Result<D>, handle: impl AsyncFn(&D, I) -> Result<O>) -> ExitCode
where
    I: DeserializeOwned,
    O: Serialize,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome: std::result::Result<(), lambda_runtime::Error> = runtime.block_on(async {
        let config = Config::from_env(&[])?;
        // One function could not read what another had not written.
        if config.dry_run || !config.write_to_storage {
            return Err(Error::permanent(
                "settings `DRY_RUN` and `WRITE_TO_STORAGE`: expected unset in a Lambda function",
            )
            .into());
        }
        config.log.start("info");
        // Boxed here and below: as one type, handler and SDKs nest deeper than the compiler follows.
        let deps = Arc::new(Box::pin(build(&config)).await?);
        let handle = &handle;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
            let deps = Arc::clone(&deps);
            async move { Box::pin(answer(&*deps, handle, event.payload)).await.map_err(Diagnostic::from) }
        }))
        .await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Calls a handler with a message as it travels: JSON in, JSON out.
///
/// # Errors
/// Permanent, when the JSON is not the handler's input; otherwise the handler's own.
pub async fn answer<D, I, O>(deps: &D, handle: &impl AsyncFn(&D, I) -> Result<O>, message: Value) -> Result<Value>
where
    I: DeserializeOwned,
    O: Serialize,
{
    let input = serde_json::from_value(message).map_err(|error| Error::permanent(format!("message: {error}")))?;
    let output = handle(deps, input).await?;
    serde_json::to_value(output).map_err(|error| Error::permanent(format!("answer: {error}")))
}
