//! How a handler becomes a Lambda function.

mod call;
mod metrics;
mod secrets;

use std::process::ExitCode;
use std::time::Instant;

use config::Config;
use jiff::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::error::caught;
use shared::message::FlowMessage;
use shared::{Context, Error, Result};
use tokio::sync::Mutex;
use tracing::Instrument;

use call::Call;
use secrets::Secrets;

/// What is logged unless a setting says otherwise.
const LEVEL: &str = "info";
/// The library whose own lines about failed calls are left out.
const RUNTIME: &str = "lambda_runtime::layers";

/// The error's class becomes Lambda's `errorType`, which is what the flows' retry policies match on.
fn diagnostic(error: Error) -> Diagnostic {
    Diagnostic { error_type: error.class().as_str().to_owned(), error_message: error.to_string() }
}

/// Serves a handler until Lambda ends the process: settings and `Deps` once, then one call after another.
///
/// Every line that is logged during a call holds the execution's name and, once it is known, the alert's; a call ends
/// with a line of metrics. A setting that is missing or malformed ends the process with exit code 1 and says so on
/// standard error. While a secret cannot be read, each call is a Retryable error.
pub fn serve<D, I, O>(build: impl AsyncFn(&Config) -> Result<D>, handle: impl AsyncFn(&D, I) -> Result<O>) -> ExitCode
where
    I: FlowMessage + DeserializeOwned,
    O: FlowMessage + Serialize,
{
    runtime::run(async {
        // Boxed here and below: as one type, handler and SDKs nest deeper than the compiler follows.
        match Box::pin(calls(&build, &handle)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn calls<D, I, O>(
    build: &impl AsyncFn(&Config) -> Result<D>,
    handle: &impl AsyncFn(&D, I) -> Result<O>,
) -> std::result::Result<(), lambda_runtime::Error>
where
    I: FlowMessage + DeserializeOwned,
    O: FlowMessage + Serialize,
{
    let mut secrets = Secrets::open().await;
    let deps = match ready(build, secrets.read().await).await {
        Ok(deps) => Some(deps),
        // What settings are read from may be back with the next call, which answers Retryable until then.
        Err(error) if error.is_retryable() => {
            config::Log::from_env()?.start_without(LEVEL, Some(RUNTIME));
            tracing::warn!("not ready: {error}");
            None
        }
        Err(error) => return Err(error.into()),
    };
    // Lambda makes one call at a time.
    let state = &Mutex::new((secrets, deps));
    lambda_runtime::run(service_fn(move |LambdaEvent { payload, context }: LambdaEvent<Value>| async move {
        let mut state = state.lock().await;
        let (secrets, deps) = &mut *state;
        let call = Call::new(payload);
        let span = call.span(&context.request_id);
        let env = &context.env_config;
        let called = async {
            let ready = refresh(build, secrets, deps).await;
            let deps =
                ready.and_then(|()| deps.as_ref().ok_or_else(|| Error::retryable("expected settings, found none")));
            watched(deps, handle, call, &env.function_name, &env.log_group).await
        };
        Box::pin(called.instrument(span)).await.map_err(diagnostic)
    }))
    .await
}

/// Reads the settings where there are none yet, or where they are old and have changed.
///
/// # Errors
/// What the secrets or `build` say.
async fn refresh<D>(
    build: &impl AsyncFn(&Config) -> Result<D>,
    secrets: &mut Secrets,
    deps: &mut Option<D>,
) -> Result<()> {
    let settings = match deps {
        None => Some(secrets.read().await),
        Some(_) => secrets.read_again().await.map(Ok),
    };
    if let Some(settings) = settings {
        *deps = None;
        *deps = Some(ready(build, settings).await?);
    }
    Ok(())
}

/// What a function touches, made from its settings; logging starts as they want.
async fn ready<D>(build: &impl AsyncFn(&Config) -> Result<D>, secrets: Result<Vec<(String, String)>>) -> Result<D> {
    let config = settings(secrets?)?;
    // The runtime's own line about a failed call would repeat this crate's, which has the alert's name.
    config.log.start_without(LEVEL, Some(RUNTIME));
    Box::pin(build(&config)).await
}

/// The settings: what the secrets hold goes before SETTINGS, and that before the environment.
fn settings(secrets: Vec<(String, String)>) -> Result<Config> {
    let settings = [secrets, config::settings_object()?].concat();
    let settings: Vec<(&str, String)> = settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let config = Config::from_env(&settings)?;
    // One function could not read what another had not written.
    if config.dry_run || !config.write_to_storage {
        return Err(Error::permanent("settings `DRY_RUN` and `WRITE_TO_STORAGE`: expected unset in a Lambda function"));
    }
    Ok(config)
}

/// Calls a handler, and says how that went.
async fn watched<D, I, O>(
    deps: Result<&D>,
    handle: &impl AsyncFn(&D, I) -> Result<O>,
    call: Call,
    function: &str,
    log_group: &str,
) -> Result<Value>
where
    I: FlowMessage + DeserializeOwned,
    O: FlowMessage + Serialize,
{
    let begun = Instant::now();
    let mut subject = None;
    let outcome = caught(async {
        let input: I = read(call.message)?;
        subject = input.subject();
        if let Some(subject) = &subject {
            tracing::Span::current().record("alert_name", &subject.name);
        }
        handle(deps?, input).await
    })
    .await;
    if let Err(error) = &outcome {
        match error.is_retryable() {
            true => tracing::warn!("the call failed, and may be made again: {error}"),
            false => tracing::error!("the call failed: {error}"),
        }
    }
    if let Some(answered) = outcome.as_ref().ok().and_then(FlowMessage::subject) {
        subject = Some(answered);
    }
    let outcome = outcome.and_then(|output| Ok((output.counts(), written(output)?)));
    let counts = outcome.as_ref().map(|(counts, _)| counts.as_slice()).map_err(Error::class);
    let (flow, subject) = (call.flow.as_ref(), subject.as_ref());
    metrics::say(&metrics::record(function, log_group, flow, subject, counts, begun.elapsed(), Timestamp::now()));
    outcome.map(|(_, answer)| answer)
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
    written(handle(deps, read(message)?).await?)
}

fn read<I: DeserializeOwned>(message: Value) -> Result<I> {
    serde_json::from_value(message).permanent("message")
}

fn written(output: impl Serialize) -> Result<Value> {
    serde_json::to_value(output).permanent("answer")
}
