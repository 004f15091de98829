//! Handling one message until it is done: retries with backoff, and the dead letter.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::Error;
use shared::error::caught;
use tokio::sync::watch;

use super::throttle::LogThrottle;
use super::{Message, Work};
use crate::health::Health;

/// How long a certificate that is refused is not logged again, at first.
const CERTIFICATE_PAUSE: Duration = Duration::from_secs(60);

/// How long to wait before the next attempt: from `first`, doubling, up to `most`, less up to a half by chance.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Between attempts at most.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

/// Whether to log why a message is retried. A certificate that is refused is so for every message: it is logged for one,
/// and ever more seldom.
fn is_logged(error: &Error, throttle: &Mutex<LogThrottle>) -> bool {
    let Some(advice) = http_client::certificate_advice(&error.to_string()) else { return true };
    let mut throttle = throttle.lock().unwrap_or_else(PoisonError::into_inner);
    throttle.allows(advice, CERTIFICATE_PAUSE, Instant::now())
}

/// Handles a message until it is done or dead-lettered; false when `stopping` came first.
///
/// A Retryable error is retried for as long as it takes, a Permanent one is dead-lettered. `held_back` is called when the
/// first attempt has failed.
pub(super) async fn handle<W: Work>(
    work: &W,
    message: &Message,
    backoff: Backoff,
    health: &Health,
    throttle: &Mutex<LogThrottle>,
    mut stopping: watch::Receiver<bool>,
    held_back: impl FnOnce() + Send,
) -> bool {
    let mut wait = backoff.first;
    let mut held_back = Some(held_back);
    loop {
        let outcome = match caught(work.take(message)).await {
            Ok(()) => {
                health.done(&message.topic);
                return true;
            }
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => caught(work.dead_letter(message, &error)).await,
        };
        let Err(error) = outcome else {
            health.failed(&message.topic);
            return true;
        };
        if let Some(held_back) = held_back.take() {
            held_back();
        }
        health.retried(&message.topic);
        let pause = wait.mul_f64(rand::random_range(0.5..=1.0));
        if is_logged(&error, throttle) {
            tracing::warn!(
                topic = message.topic,
                partition = message.partition,
                offset = message.offset,
                retry_in_ms = pause.as_millis(),
                "retrying notice: {error}"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return false,
        }
        wait = (wait * 2).min(backoff.most);
    }
}
