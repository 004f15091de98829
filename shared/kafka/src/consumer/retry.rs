//! Handling one message until it is done: retries with backoff, and the dead letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::error::caught;
use shared::{Error, Result};
use tokio::sync::{Semaphore, watch};

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

/// What the handling of a message tells the consumer of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// The first attempt has failed.
    HeldBack,
    /// The body has been dropped.
    Released,
}

/// Whether to log why a message is retried. A certificate that is refused is so for every message: it is logged for one,
/// and ever more seldom.
fn is_logged(error: &Error, throttle: &Mutex<LogThrottle>) -> bool {
    let Some(advice) = http_client::certificate_advice(&error.to_string()) else { return true };
    let mut throttle = throttle.lock().unwrap_or_else(PoisonError::into_inner);
    throttle.allows(advice, CERTIFICATE_PAUSE, Instant::now())
}

/// Shared by all messages of a run.
pub(super) struct Limits {
    pub backoff: Backoff,
    pub permits: Arc<Semaphore>,
    pub health: Arc<Health>,
    /// Of the lines about refused certificates.
    pub throttle: Arc<Mutex<LogThrottle>>,
}

/// Handles a message until it is done or dead-lettered; false when `stopping` came first, which interrupts neither
/// [`Work::take`] nor [`Work::dead_letter`].
///
/// A Retryable error is retried for as long as it takes, a Permanent one is dead-lettered. Each attempt needs a permit,
/// which is not held while the next one is waited for.
pub(super) async fn handle<W: Work>(
    work: &W,
    message: &mut Message,
    limits: &Limits,
    mut stopping: watch::Receiver<bool>,
    signal: impl Fn(Signal),
) -> bool {
    let Limits { backoff, permits, health, throttle } = limits;
    let (mut wait, mut failures, mut taken) = (backoff.first, 0, None);
    loop {
        let permit = tokio::select! {
            permit = permits.acquire() => permit,
            _ = stopping.wait_for(|stopping| *stopping) => return false,
        };
        let outcome = attempt(work, message, &mut taken, &mut stopping, &signal).await;
        let outcome = match outcome {
            Ok(true) => {
                health.done(&message.topic);
                return true;
            }
            Ok(false) => return false,
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => caught(work.dead_letter(message, &error)).await,
        };
        drop(permit);
        let Err(error) = outcome else {
            health.failed(&message.topic);
            return true;
        };
        failures += 1;
        if failures == 1 {
            signal(Signal::HeldBack);
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

/// Takes a message, once, and waits for its end; false when `stopping` came first.
async fn attempt<W: Work>(
    work: &W,
    message: &mut Message,
    taken: &mut Option<W::Taken>,
    stopping: &mut watch::Receiver<bool>,
    signal: impl Fn(Signal),
) -> Result<bool> {
    let begun = match taken {
        Some(begun) => begun,
        None => {
            let begun = caught(work.take(message)).await?;
            message.body = None;
            signal(Signal::Released);
            taken.insert(begun)
        }
    };
    tokio::select! {
        ended = caught(work.wait(message, begun)) => ended.map(|()| true),
        _ = stopping.wait_for(|stopping| *stopping) => Ok(false),
    }
}
