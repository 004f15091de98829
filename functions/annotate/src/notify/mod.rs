//! `Notifiable → Notified`: sends an alert to the targets of the rules that it meets, once each.
//!
//! It is a function of its own, after the annotations. What cannot be sent is part of the answer and not an error. What was
//! sent is kept in `work/{name}/notified.json`, so that a repeat does not send it again; a crash between the two sends it
//! twice.
//!
//! It is called with notices too that become no alert: `notice` says which of them are notified about.

pub mod classic;
mod email;
mod notice;
mod picture;
pub mod rules;
mod send;
mod vtp;
mod words;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use config::{Config, Notify, Rule, Target};
use http_client::Fetch;
use jiff::Timestamp;
use runtime::Backoff;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::key::{Key, Object};
use shared::message::{Annotated, Notifiable, Notification, NotificationStatus, Notified, Received, UnmetRule};
use shared::notice::{Envelope, NoticeKind};
use shared::{Context, Error, Result};
use store::Store;

use self::email::Letter;
use crate::annotations::Annotations;
use crate::versions;
use crate::voevent::{Maps, VoEvent};
use rules::RuleVerdict;

/// The longest that one notification may take, all attempts together.
const LIMIT: Duration = Duration::from_secs(15);
/// How often it is tried.
const ATTEMPTS: u32 = 3;
/// The pauses between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(1));

/// What this function touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the annotations are, and the record of what was sent.
    pub store: Store,
    /// The rules, and the means to send.
    pub notifier: Notifier,
    /// Whether notices about mock and test events are notified about.
    pub test_alerts: bool,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// Permanent, when there can be no HTTP client.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        let folder = config.storage.folder().filter(|_| store.writes()).map(ToOwned::to_owned);
        let notifier = Notifier {
            rules: config.notify.clone(),
            fetch: Fetch::new()?,
            folder,
            store: store.clone(),
            dry_run: config.dry_run,
            objects_url: config.objects_url.clone(),
            voevent_stream: config.voevent_stream.clone(),
        };
        Ok(Deps { store, notifier, test_alerts: config.test_alerts })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`] and [`Deps::new`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Sends an annotated alert, or a notice that becomes none, to the targets of the rules that it meets.
///
/// # Errors
/// Permanent, when the alert's annotations are not in the store or cannot be read; otherwise what the store says. A
/// notification that fails is in the answer.
pub async fn handle(deps: &Deps, notifiable: Notifiable) -> Result<Notified> {
    match notifiable {
        Notifiable::Alert(annotated) => alert(deps, annotated).await,
        Notifiable::Notice(received) => {
            let (notifications, unmet) = notice(deps, &received).await?;
            Ok(Notified { name: None, notifications, unmet })
        }
    }
}

async fn alert(deps: &Deps, annotated: Annotated) -> Result<Notified> {
    let name = annotated.name;
    let key = Object::Annotations(&name).key()?;
    let bytes = match deps.store.get(&key).await? {
        // The GWTM removes the files of old mock alerts whenever it is asked to.
        None if name.superevent_id.is_test() => {
            tracing::info!(alert_name = %name, "not notified: the mock alert's annotations have been removed");
            return Ok(Notified { name: Some(name), notifications: Vec::new(), unmet: Vec::new() });
        }
        None => deps.store.read(&key).await?,
        Some(bytes) => bytes,
    };
    let annotations = versions::read(&key, &bytes)?;
    let notifications = deps.notifier.notify(&deps.store, &annotations).await?;
    let unmet = unmet(&deps.notifier.rules, |rule| rules::assess(rule, &annotations));
    tracing::info!(alert_name = %name, notifications = notifications.len(), unmet = unmet.len(), "notified");
    Ok(Notified { name: Some(name), notifications, unmet })
}

async fn notice(deps: &Deps, received: &Received) -> Result<(Vec<Notification>, Vec<UnmetRule>)> {
    if deps.notifier.rules.rules.is_empty() {
        return Ok(Default::default());
    }
    let bytes = deps.store.read_body(&received.body).await?;
    if !deps.test_alerts && Envelope::of(&bytes).is_test() {
        return Ok(Default::default());
    }
    let Some(news) = notice::News::of(NoticeKind::of_topic(&received.topic)?, &bytes) else {
        return Ok(Default::default());
    };
    let content = Content { created: received.kafka_time, ..news.content()? };
    let key = Object::NoticeNotified(&news.id).key()?;
    let notifications = deps.notifier.send_once(&deps.store, &key, &content, |rule| news.assess(rule).is_met()).await?;
    tracing::warn!(notifications = notifications.len(), "{}", content.line);
    Ok((notifications, unmet(&deps.notifier.rules, |rule| news.assess(rule))))
}

/// The rules that are not met, each with the reasons.
fn unmet(notify: &Notify, assess: impl Fn(&Rule) -> RuleVerdict) -> Vec<UnmetRule> {
    notify.rules.iter().filter_map(|rule| assess(rule).unmet(rule)).collect()
}

/// What is sent.
pub(crate) struct Content {
    /// The alert or notice, for subjects and names of files.
    pub name: String,
    /// One line for people.
    pub line: String,
    /// For templates.
    pub fields: Value,
    /// For programs: JSON.
    pub document: Bytes,
    /// For VOEvent receivers: XML, of an alert only.
    pub voevent: Option<Bytes>,
    /// Where the document lies in the store, if it does.
    pub stored: Option<Key>,
    /// When the notice was created, or the broker took it.
    pub created: Option<Timestamp>,
    /// For mails.
    pub letter: Letter,
}

impl Content {
    fn of_alert(annotations: &Annotations, earlier: Option<&Annotations>) -> Result<Self> {
        Ok(Content {
            name: annotations.name.to_string(),
            line: words::line(annotations),
            fields: serde_json::to_value(annotations).permanent("JSON")?,
            document: crate::json(annotations)?,
            voevent: None,
            stored: Some(Object::Annotations(&annotations.name).key()?),
            created: Some(annotations.time_created),
            letter: Letter::of_alert(annotations, earlier)?,
        })
    }
}

/// Tells people and programs.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Who is told of what.
    pub rules: Notify,
    /// How webhooks are called.
    pub fetch: Fetch,
    /// The store's folder, when it is one: a command gets the path of the annotations in it, elsewhere that of a copy.
    pub folder: Option<PathBuf>,
    /// Where the plot is, which mails attach.
    pub store: Store,
    /// Whether nothing is sent.
    pub dry_run: bool,
    /// URL below which recipients can read the store, for links.
    pub objects_url: Option<String>,
    /// Author and stream of the VOEvents, for tests.
    pub voevent_stream: Option<String>,
}

/// What was sent of an alert.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    sent: Vec<Sent>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    rule: String,
    /// The target's number in its rule, from 1, and what it is.
    number: usize,
    target: String,
    time: Timestamp,
}

impl Notifier {
    /// Tells of an alert whom the rules name and who has not been told.
    ///
    /// # Errors
    /// What the store says when it is read. A notification that fails is in the answer.
    pub async fn notify(&self, store: &Store, annotations: &Annotations) -> Result<Vec<Notification>> {
        let key = Object::Notified(&annotations.name).key()?;
        let earlier = superseded(store, annotations).await?;
        let mut content = Content::of_alert(annotations, earlier.as_ref())?;
        let mut targets = self.rules.rules.iter().flat_map(|rule| &rule.targets);
        if targets.any(|target| matches!(target, Target::VoEvent { .. })) {
            content.voevent = store.get(&Object::VoEvent(&annotations.name).key()?).await?;
        }
        self.send_once(store, &key, &content, |rule| rules::assess(rule, annotations).is_met()).await
    }

    /// Sends to the targets of the rules that are met and that `key` does not record yet.
    async fn send_once(
        &self,
        store: &Store,
        key: &Key,
        content: &Content,
        meets: impl Fn(&Rule) -> bool,
    ) -> Result<Vec<Notification>> {
        let met = self.rules.rules.iter().filter(|rule| meets(rule));
        let wanted: Vec<(&Rule, usize, Cow<'_, Target>)> = met
            .flat_map(|rule| (1..).zip(&rule.targets).map(move |(number, target)| (rule, number, target)))
            .flat_map(|(rule, number, target)| target.deliveries().into_iter().map(move |one| (rule, number, one)))
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut record = match store.get(key).await? {
            Some(bytes) => read(key, &bytes),
            None => Record::default(),
        };
        let age = content.created.map(|created| Timestamp::now().duration_since(created));
        let age_hours = age.map(|age| age.as_secs_f64() / 3600.0);
        let had = |rule: &Rule, number: usize, target: &Target| {
            let target = target.to_string();
            record.sent.iter().any(|sent| sent.rule == rule.name && sent.number == number && sent.target == target)
        };
        let told = wanted.iter().map(async |(rule, number, target)| {
            if had(rule, *number, target) {
                return NotificationStatus::AlreadySent;
            }
            if let Some(age_hours) = age_hours
                && age_hours >= rule.max_age_hours
            {
                let limit = rule.max_age_hours;
                let reason = format!("created {age_hours:.1} h ago, expected less than {limit} h (max_age_hours)");
                return NotificationStatus::NotSent { reason };
            }
            if self.dry_run {
                return NotificationStatus::NotSent { reason: "dry run".to_owned() };
            }
            if content.stored.is_none() && matches!(**target, Target::VoEvent { .. }) {
                return NotificationStatus::NotSent { reason: "the notice is no alert and has no VOEvent".to_owned() };
            }
            self.status(rule, target, content, false).await
        });
        let told = futures::future::join_all(told).await;
        let mut notifications = Vec::new();
        for ((rule, number, target), status) in wanted.into_iter().zip(told) {
            if status == NotificationStatus::Sent {
                let (rule, target) = (rule.name.clone(), target.to_string());
                record.sent.push(Sent { rule, number, target, time: Timestamp::now() });
            }
            if let NotificationStatus::Failed { reason } = &status {
                tracing::error!(alert_name = content.name, rule = rule.name, %target, "not told: {reason}");
            }
            notifications.push(Notification { rule: rule.name.clone(), target: target.to_string(), status });
        }
        if notifications.iter().any(|notification| notification.status == NotificationStatus::Sent)
            && let Err(error) = keep(store, key, &record).await
        {
            // To fail here would send them again.
            tracing::error!(object_key = %key, "what was sent could not be kept: {error}");
        }
        Ok(notifications)
    }

    /// Sends a test, marked as such, to every target of every rule, and keeps no record.
    ///
    /// # Errors
    /// Permanent, when the annotations have no name in the store.
    pub async fn test(&self, annotations: &Annotations) -> Result<Vec<Notification>> {
        let mut content = Content::of_alert(annotations, None)?;
        if let Some(stream) = &self.voevent_stream {
            let voevent = VoEvent::new(stream, annotations, &[], &Maps::default());
            content.voevent = Some(voevent.as_test(Timestamp::now()).to_xml()?.into());
        }
        let content = &content;
        let targets = self.rules.rules.iter().flat_map(|rule| rule.targets.iter().map(move |target| (rule, target)));
        let targets = targets.flat_map(|(rule, target)| target.deliveries().into_iter().map(move |one| (rule, one)));
        let told = targets.map(async |(rule, target)| Notification {
            rule: rule.name.clone(),
            target: target.to_string(),
            status: self.status(rule, &target, content, true).await,
        });
        Ok(futures::future::join_all(told).await)
    }

    async fn status(&self, rule: &Rule, target: &Target, content: &Content, test: bool) -> NotificationStatus {
        let attempts = runtime::retry(ATTEMPTS, BACKOFF, || self.send(rule, target, content, test));
        let outcome = tokio::time::timeout(LIMIT, attempts)
            .await
            .unwrap_or_else(|_| Err(Error::retryable(format!("expected it to be sent within {LIMIT:?}"))));
        match outcome {
            Ok(()) => NotificationStatus::Sent,
            Err(error) => NotificationStatus::Failed { reason: error.to_string() },
        }
    }
}

/// The alert that one without an event supersedes, if its annotations are there and can be read.
async fn superseded(store: &Store, annotations: &Annotations) -> Result<Option<Annotations>> {
    let Some(previous) = annotations.previous.as_ref().filter(|_| annotations.event.is_none()) else { return Ok(None) };
    let key = Object::Annotations(&previous.name).key()?;
    Ok(store.get(&key).await?.and_then(|bytes| versions::read(&key, &bytes).ok()))
}

fn read(key: &Key, bytes: &[u8]) -> Record {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        tracing::warn!(object_key = %key, "expected a record of what was sent: {error}");
        Record::default()
    })
}

async fn keep(store: &Store, key: &Key, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(record).permanent("JSON")?;
    store.put(key, bytes.into()).await
}

#[cfg(test)]
mod tests;
