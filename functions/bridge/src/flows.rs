//! Starting flows on AWS Step Functions.

use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::config::Region;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use shared::message::Received;
use shared::notice::NoticeKind;
use shared::{Context, Error, Result};

/// The flows, each a state machine.
#[derive(Debug, Clone)]
pub struct Flows {
    client: Client,
    arns: config::FlowArns,
}

impl Flows {
    /// Makes the client in the region that the ARNs name. `sdk` has the credentials, and the endpoint where it is not AWS.
    pub async fn open(arns: &config::FlowArns, sdk: ConfigLoader) -> Self {
        let mut settings = sdk.retry_config(RetryConfig::standard().with_max_attempts(3)).timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(10))
                .operation_timeout(Duration::from_secs(30))
                .build(),
        );
        // arn:aws:states:REGION:ACCOUNT:stateMachine:NAME
        if let Some(region) = arns.ligo.split(':').nth(3).filter(|region| !region.is_empty()) {
            settings = settings.region(Region::new(region.to_owned()));
        }
        Flows { client: Client::new(&settings.load().await), arns: arns.clone() }
    }

    /// Starts the flow of a notice under `name`; whether this call started it. A name that is taken is a success: the
    /// notice has been handed over before.
    ///
    /// # Errors
    /// Permanent, when this input can never start; Retryable otherwise: a missing flow or permission is put right by a
    /// person, and until then no notice is passed over.
    pub async fn start(&self, kind: NoticeKind, name: &str, input: &Received) -> Result<bool> {
        let arn = match kind {
            NoticeKind::Igwn => &self.arns.ligo,
            NoticeKind::IceCube => &self.arns.icecube,
        };
        let input = serde_json::to_string(input).permanent("JSON")?;
        match self.client.start_execution().state_machine_arn(arn).name(name).input(input).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(false),
            Err(error) => {
                let message = format!("flow `{arn}`, execution `{name}`: {}", DisplayErrorContext(&error));
                let permanent =
                    matches!(error.code(), Some("InvalidExecutionInput" | "InvalidName" | "ValidationException"))
                        || matches!(error, SdkError::ConstructionFailure(_));
                Err(if permanent { Error::permanent(message) } else { Error::retryable(message) })
            }
        }
    }
}
