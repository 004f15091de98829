//! Handles one message to completion: retries with backoff, dead-letters permanent failures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::Backoff;
use shared::error::caught;
use shared::{Error, Result};
use tokio::sync::{Semaphore, watch};

use super::throttle::LogThrottle;
use super::{Message, Work};
use crate::health::Health;

/// First pause between log lines about a rejected certificate.
const CERTIFICATE_LOG_PAUSE: Duration = Duration::from_secs(60);

/// Signal from a message's task about its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// The first attempt failed.
    HeldBack,
    /// The body was dropped.
    Released,
}

/// Whether to log the reason for a retry. Throttles rejected certificates, which fail every message alike.
fn is_logged(error: &Error, throttle: &Mutex<LogThrottle>) -> bool {
    let Some(advice) = http_client::certificate_advice(&error.to_string()) else { return true };
    let mut throttle = throttle.lock().unwrap_or_else(PoisonError::into_inner);
    throttle.allows(advice, CERTIFICATE_LOG_PAUSE, Instant::now())
}

/// What all messages of a run share.
pub(super) struct RunContext {
    pub backoff: Backoff,
    pub permits: Arc<Semaphore>,
    pub health: Arc<Health>,
    /// Of log lines about rejected certificates.
    pub throttle: Arc<Mutex<LogThrottle>>,
}

/// Handles a message until it is done or dead-lettered. Returns false when `stopping` came first; that never interrupts
/// [`Work::take`] or [`Work::dead_letter`].
///
/// Retries a Retryable error without limit, dead-letters a Permanent one. Each attempt holds a permit; the backoff does
/// not.
pub(super) async fn handle<W: Work>(
    work: &W,
    message: &mut Message,
    limits: &RunContext,
    mut stopping: watch::Receiver<bool>,
    signal: impl Fn(Signal),
) -> bool {
    let RunContext { backoff, permits, health, throttle } = limits;
    let (mut failures, mut taken) = (0, None);
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
        let pause = backoff.pause(failures);
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
    }
}

/// Takes the message unless an earlier attempt did, then waits for its end. Returns false when `stopping` came first.
async fn attempt<W: Work>(
    work: &W,
    message: &mut Message,
    taken: &mut Option<W::Taken>,
    stopping: &mut watch::Receiver<bool>,
    signal: impl Fn(Signal),
) -> Result<bool> {
    let handle = match taken {
        Some(handle) => handle,
        None => {
            let handle = caught(work.take(message)).await?;
            message.body = None;
            signal(Signal::Released);
            taken.insert(handle)
        }
    };
    tokio::select! {
        ended = caught(work.wait(message, handle)) => ended.map(|()| true),
        _ = stopping.wait_for(|stopping| *stopping) => Ok(false),
    }
}
