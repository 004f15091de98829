//! The ways to send.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use config::{Rule, Target, secrets, tcp_address};
use shared::{Error, Result, Secret};
use tokio::io::AsyncReadExt;

use super::{Content, Notifier, vtp, words};

/// How long one webhook's answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How much of a command's complaint is kept [bytes].
const MAX_COMPLAINT_BYTES: u64 = 500;

impl Notifier {
    /// Sends once.
    pub(super) async fn send(&self, rule: &Rule, target: &Target, content: &Content, test: bool) -> Result<()> {
        match target {
            Target::Webhook { url, template, content_type } => {
                let body = words::filled(template, content_type, content, test)?;
                self.post(url, content_type, body).await
            }
            Target::Slack { url } => self.post(url, "application/json", words::slack(content, test)).await,
            Target::VoEvent { url } => {
                let missing = || Error::permanent("expected the alert's VOEvent, found none (VOEVENT_STREAM)");
                let voevent = content.voevent.as_ref().ok_or_else(missing)?;
                vtp::send(tcp_address(url).unwrap_or_default(), voevent).await
            }
            Target::Sns { topic_arn } => publish(topic_arn, content, test).await,
            Target::Command { command } => self.run(command, content, test).await,
            Target::Email(email) => self.mail(rule, email, content, test).await,
        }
    }

    async fn post(&self, url: &Secret, content_type: &str, body: String) -> Result<()> {
        self.fetch.post(url.reveal(), content_type, Bytes::from(body), ANSWER).await
    }

    /// Runs a program with the path of the document as its last argument. It gets no secret of ours, and is ended
    /// when it takes too long.
    async fn run(&self, command: &[String], content: &Content, test: bool) -> Result<()> {
        let (program, arguments) = command.split_first().ok_or_else(|| Error::permanent("expected a program"))?;
        let (path, _copy) = self.file(content, test)?;
        let mut running = tokio::process::Command::new(program);
        running.args(arguments).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in secrets() {
            running.env_remove(name);
        }
        let wrong = |error: std::io::Error| Error::permanent(error.to_string().to_lowercase());
        let mut child = running.kill_on_drop(true).spawn().map_err(wrong)?;
        let mut complaint = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let mut limited = stderr.take(MAX_COMPLAINT_BYTES);
            limited.read_to_end(&mut complaint).await.map_err(wrong)?;
            // The rest is thrown away, so that the program can go on.
            let mut rest = limited.into_inner();
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map_err(wrong)?;
        }
        let status = child.wait().await.map_err(wrong)?;
        if status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint: String = complaint.trim().escape_debug().collect();
        Err(Error::permanent(format!("expected exit code 0, found {status}: {complaint}")))
    }

    /// The document as a file: the one in the store's folder, or a copy, which goes when it is dropped.
    fn file(&self, content: &Content, test: bool) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
        if let (Some(folder), Some(key), false) = (&self.folder, &content.stored, test) {
            return Ok((folder.join(key.as_str()), None));
        }
        let wrong = |error: std::io::Error| Error::permanent(error.to_string().to_lowercase());
        let folder = tempfile::tempdir().map_err(wrong)?;
        let stored = content.stored.as_ref().and_then(|key| key.as_str().rsplit('/').next());
        let path = folder.path().join(stored.unwrap_or("notice.json"));
        std::fs::File::create(&path).and_then(|mut file| file.write_all(&content.document)).map_err(wrong)?;
        Ok((path, Some(folder)))
    }
}

/// Publishes the document to a topic; its subject is the line that a mail shows.
#[cfg(feature = "sns")]
async fn publish(topic_arn: &str, content: &Content, test: bool) -> Result<()> {
    // The region is part of the topic's name.
    let region = topic_arn.split(':').nth(3).unwrap_or_default().to_owned();
    let settings = http_client::aws::settings().region(aws_sdk_sns::config::Region::new(region)).load().await;
    let subject = format!("{}{}", if test { "TEST " } else { "" }, content.name);
    let sent = aws_sdk_sns::Client::new(&settings)
        .publish()
        .topic_arn(topic_arn)
        .subject(subject)
        .message(String::from_utf8_lossy(&content.document))
        .send()
        .await;
    sent.map(drop).map_err(|error| {
        use aws_sdk_sns::error::ProvideErrorMetadata;
        let code = error.code().map(str::to_owned);
        Error::retryable(code.unwrap_or_else(|| "expected SNS to answer, found no answer".to_owned()))
    })
}

#[cfg(not(feature = "sns"))]
async fn publish(_topic_arn: &str, _content: &Content, _test: bool) -> Result<()> {
    Err(Error::permanent("this program was built without SNS (build it with `--features s3`)"))
}
