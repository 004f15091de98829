//! How a program runs: its runtime, blocking work, retries with backoff.

use std::process::ExitCode;
use std::time::Duration;

use shared::{Class, Error, Result};

/// How long a program that is done waits for its blocking threads: a broker that does not answer must not delay the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a program on a multi-threaded runtime; exit code 1 when that cannot start.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(program);
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    code
}

/// Runs work that computes or waits for a disk on a thread of its own, away from those that serve connections.
///
/// # Errors
/// The work's own; Permanent, naming `what`, when it panics; Retryable, when the program ends before it began.
pub async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let class = if error.is_panic() { Class::Permanent } else { Class::Retryable };
        Err(Error::new(class, what).caused_by(error))
    })
}

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Backoff {
    /// Pauses from `first`, doubled up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Backoff { first, max }
    }

    /// The longest that the pause after so many failures may be.
    pub fn longest(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max)
    }

    /// The pause after so many failures: up to half of it is left out at random, so that clients which failed together
    /// do not come back together.
    pub fn pause(self, failures: u32) -> Duration {
        self.longest(failures).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Calls `attempt` up to `attempts` times, with pauses, as long as its error is Retryable.
///
/// # Errors
/// That of the last attempt.
pub async fn retry<T, F: Future<Output = Result<T>>>(
    attempts: u32,
    backoff: Backoff,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let mut failures = 0;
    loop {
        match attempt().await {
            Err(error) if error.is_retryable() && failures + 1 < attempts => failures += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(backoff.pause(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let longest = [1, 2, 3, 7, 40].map(|failures| backoff.longest(failures).as_millis());
        assert_eq!(longest, [500, 1000, 2000, 30_000, 30_000]);
        for failures in 1..10 {
            let pause = backoff.pause(failures);
            assert!(pause <= backoff.longest(failures) && pause >= backoff.longest(failures) / 2, "{pause:?}");
        }
    }

    #[tokio::test]
    async fn only_what_may_pass_is_retried() {
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        for (error, calls) in [(Error::retryable("busy"), 3), (Error::permanent("no"), 1)] {
            let mut called = 0;
            let outcome = retry(3, backoff, || {
                called += 1;
                let error = error.clone();
                async { Err::<(), _>(error) }
            });
            assert_eq!(outcome.await, Err(error.clone()));
            assert_eq!(called, calls);
        }
    }

    #[tokio::test]
    async fn a_panic_in_blocking_work_is_a_permanent_error() {
        let error = blocking("sky map", || -> Result<()> { panic!("no cells") }).await.expect_err("a panic");
        assert!(!error.is_retryable() && error.to_string().starts_with("sky map: "), "{error}");
    }
}
