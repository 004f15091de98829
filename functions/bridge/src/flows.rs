//! Starts flows on AWS Step Functions and waits for their end.

use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::config::Region;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use kafka::archive;
use kafka::consumer::Message;
use runtime::Backoff;
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::{Context, Error, Result};
use tokio::time::Instant;

/// Backoff between polls of an execution.
pub const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
/// Timeout of waiting for an execution; longer than a flow retries a function (`infra/flows`).
pub const MAX_WAIT: Duration = Duration::from_secs(6 * 3600);

/// The flows; each is a state machine.
#[derive(Debug, Clone)]
pub struct Flows {
    client: Client,
    arns: config::FlowArns,
    pauses: Backoff,
    max_wait: Duration,
}

/// The execution of a notice's flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    arn: String,
    /// Whether this call started it.
    pub started: bool,
    /// Start of the wait.
    since: Instant,
}

impl Flows {
    /// Creates a client for the ARNs' region. `sdk` provides the credentials, and the endpoint if it is not AWS.
    /// Executions are polled with `pauses`, for at most `max_wait` ([`MAX_WAIT`] but in tests).
    pub async fn open(arns: &config::FlowArns, sdk: ConfigLoader, pauses: Backoff, max_wait: Duration) -> Self {
        let mut settings = sdk.retry_config(RetryConfig::standard().with_max_attempts(3)).timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(10))
                .operation_timeout(Duration::from_secs(30))
                .build(),
        );
        // arn:aws:states:REGION:ACCOUNT:stateMachine:NAME
        if let Some(region) = arns.of(NoticeKind::Igwn).split(':').nth(3).filter(|region| !region.is_empty()) {
            settings = settings.region(Region::new(region.to_owned()));
        }
        Flows { client: Client::new(&settings.load().await), arns: arns.clone(), pauses, max_wait }
    }

    /// Starts a notice's flow, named after topic, partition and offset, or finds its earlier execution. Step Functions
    /// reserves a name for 90 days. When another notice has the name, from another cluster or a recreated topic,
    /// appends a hash of the content.
    ///
    /// # Errors
    /// Permanent, when Step Functions rejects the input; otherwise Retryable, so that no notice is skipped until an
    /// operator adds a missing flow or permission.
    pub async fn start(&self, kind: NoticeKind, message: &Message, input: &Received) -> Result<Execution> {
        let name = archive::flow_name(&message.topic, message.partition, message.offset);
        if let Some(execution) = self.start_as(kind, &name, input).await? {
            return Ok(execution);
        }
        let other = archive::flow_name_with_hash(message);
        tracing::warn!(execution = name, "another notice's execution has this name: starting `{other}`");
        let taken = || Error::permanent(format!("flow `{other}`: expected this notice's execution, found another's"));
        self.start_as(kind, &other, input).await?.ok_or_else(taken)
    }

    /// Starts or finds the execution of one name; none when it belongs to another notice.
    async fn start_as(&self, kind: NoticeKind, name: &str, input: &Received) -> Result<Option<Execution>> {
        let machine = self.arns.of(kind);
        let text = serde_json::to_string(input).permanent("JSON")?;
        let since = Instant::now();
        let request = self.client.start_execution().state_machine_arn(machine).name(name).input(text);
        let error = match request.send().await {
            Ok(answer) => return Ok(Some(Execution { arn: answer.execution_arn, started: true, since })),
            Err(error) => error,
        };
        if error.code() == Some("ExecutionAlreadyExists") {
            let arn = format!("{}:{name}", machine.replacen(":stateMachine:", ":execution:", 1));
            let described = self.describe(&arn).await?;
            let existing: Option<Received> = described.input().and_then(|text| serde_json::from_str(text).ok());
            return Ok((existing.as_ref() == Some(input)).then_some(Execution { arn, started: false, since }));
        }
        let message = format!("flow `{machine}`, execution `{name}`: {}", DisplayErrorContext(&error));
        let permanent = matches!(error.code(), Some("InvalidExecutionInput" | "InvalidName" | "ValidationException"))
            || matches!(error, SdkError::ConstructionFailure(_));
        Err(if permanent { Error::permanent(message) } else { Error::retryable(message) })
    }

    /// Waits until an execution has ended, but no longer than `max_wait` since its start. A failed flow writes its own dead
    /// letter.
    ///
    /// # Errors
    /// Permanent, when it was aborted or timed out, which leave no dead letter; Retryable, when Step Functions does not
    /// respond.
    pub async fn wait(&self, execution: &Execution) -> Result<()> {
        let mut polls = 0;
        loop {
            let described = match self.describe(&execution.arn).await {
                Err(error) if execution.since.elapsed() < self.max_wait => return Err(error),
                described => described.ok(),
            };
            let started = described.as_ref().and_then(|found| Timestamp::from_second(found.start_date().secs()).ok());
            let age = started.map_or(self.max_wait, |started| {
                Timestamp::now().duration_since(started).try_into().unwrap_or(Duration::ZERO)
            });
            match described.as_ref().map(DescribeExecutionOutput::status) {
                Some(ExecutionStatus::Succeeded | ExecutionStatus::Failed) => return Ok(()),
                Some(status @ (ExecutionStatus::Aborted | ExecutionStatus::TimedOut)) => {
                    let cause = described.as_ref().and_then(DescribeExecutionOutput::cause).unwrap_or("no cause");
                    return Err(Error::permanent(format!("flow `{}`: {}: {cause}", execution.arn, status.as_str())));
                }
                _ if age >= self.max_wait => {
                    tracing::error!(
                        execution = execution.arn,
                        hours = age.as_secs() / 3600,
                        "the flow is still running: continuing with the superevent's next notice"
                    );
                    return Ok(());
                }
                _ => polls += 1,
            }
            tokio::time::sleep(self.pauses.longest(polls)).await;
        }
    }

    async fn describe(&self, arn: &str) -> Result<DescribeExecutionOutput> {
        let answer = self.client.describe_execution().execution_arn(arn).send().await;
        answer.map_err(|error| Error::retryable(format!("flow `{arn}`: {}", DisplayErrorContext(&error))))
    }
}
