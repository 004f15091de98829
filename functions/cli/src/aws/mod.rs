//! A deployed stack of `infra/template.yaml`: where its bucket and flows are, how a flow is started, and how it went.

pub(crate) mod check;
mod outputs;
mod stages;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use runtime::Backoff;
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::{Class, Context, Error, Result};
use store::Store;
use tokio::time::{Instant, sleep};

use crate::Failure;
pub(crate) use stages::Stage;

/// How long a flow is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Pauses between two looks at an execution.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// A stack.
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) status: String,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    flows: Client,
}

/// What is wrong with a request: the settings or the rights, or a service that does not answer.
pub(crate) fn failure(error: Error) -> Failure {
    if error.is_retryable() { Failure::work(error) } else { Failure::usage(error) }
}

/// What a request to Step Functions ended with; Retryable, when it may succeed later.
fn refused<E>(what: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = format!("{what}: {}", DisplayErrorContext(error));
    let passes = match error.raw_response() {
        Some(answer) => {
            http_client::class(answer.status().as_u16()) == Class::Retryable
                || error.code().is_some_and(|code| code.contains("Throttling"))
        }
        None => !matches!(error, SdkError::ConstructionFailure(_)),
    };
    Error::new(if passes { Class::Retryable } else { Class::Permanent }, message)
}

impl Stack {
    /// Reads a stack's outputs and parameters.
    ///
    /// # Errors
    /// Permanent, when there is no such stack, or one of another template, or when the log-in may not read it.
    pub(crate) async fn open(name: &str) -> Result<Self> {
        let sdk = http_client::aws::settings()
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build())
            .load()
            .await;
        let (status, outputs, parameters) = outputs::read(&sdk, name).await?;
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        let flows = Client::new(&sdk);
        let stack = Stack { name: name.to_owned(), region, status, outputs, parameters, flows };
        ["BucketName", "LigoFlowArn", "IcecubeFlowArn"].iter().try_for_each(|output| stack.output(output).map(drop))?;
        Ok(stack)
    }

    fn output(&self, name: &str) -> Result<&str> {
        let missing = || {
            let name = format!("stack `{}`: expected an output `{name}`, as infra/template.yaml has it", self.name);
            Error::permanent(name)
        };
        self.outputs.get(name).map(String::as_str).ok_or_else(missing)
    }

    /// The stack's bucket: where flows keep what fails.
    pub(crate) async fn bucket(&self) -> Result<Store> {
        Store::open(&config::bucket(self.output("BucketName")?, &self.region)?).await
    }

    /// Where notices and products are: the bucket, or with another StorageBackend the store of the settings.
    pub(crate) async fn store(&self) -> Result<Store> {
        match self.parameters.get("StorageBackend").map_or("s3", String::as_str) {
            "s3" => self.bucket().await,
            other => Store::open(&config::location(Some(other), "")?).await,
        }
    }

    /// Starts the flow of a notice; the execution's ARN.
    pub(crate) async fn start(&self, kind: NoticeKind, name: &str, input: &Received) -> Result<String> {
        let (first, rest) = kind.flow().split_at(1);
        let flow = self.output(&format!("{}{rest}FlowArn", first.to_ascii_uppercase()))?;
        let text = serde_json::to_string(input).permanent("JSON")?;
        let started = self.flows.start_execution().state_machine_arn(flow).name(name).input(text).send().await;
        let what = || format!("flow `{flow}`, execution `{name}`");
        started.map(|started| started.execution_arn).map_err(|error| refused(&what(), &error))
    }

    /// Waits for the end of an execution, for at most [`PATIENCE`].
    ///
    /// # Errors
    /// What Step Functions says; Retryable, when it has not ended by then.
    pub(crate) async fn ended(&self, arn: &str) -> Result<DescribeExecutionOutput> {
        let begun = Instant::now();
        let mut looks = 0;
        loop {
            let described = self.flows.describe_execution().execution_arn(arn).send().await;
            let described = described.map_err(|error| refused(&format!("execution `{arn}`"), &error))?;
            if described.status != ExecutionStatus::Running {
                return Ok(described);
            }
            if begun.elapsed() > PATIENCE {
                let minutes = PATIENCE.as_secs() / 60;
                return Err(Error::retryable(format!(
                    "execution `{arn}`: expected its end within {minutes} min, it runs"
                )));
            }
            looks += 1;
            sleep(PAUSES.pause(looks)).await;
        }
    }

    /// The steps of an execution that has ended, in the order in which they began.
    pub(crate) async fn stages(&self, arn: &str) -> Result<Vec<Stage>> {
        let mut pages = self.flows.get_execution_history().execution_arn(arn).into_paginator().items().send();
        let mut events = Vec::new();
        while let Some(event) = pages.next().await {
            events.push(event.map_err(|error| refused(&format!("history of `{arn}`"), &error))?);
        }
        Ok(stages::of(&events))
    }
}
