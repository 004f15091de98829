//! Runtime, blocking work, and retries with backoff.

use std::process::ExitCode;
use std::time::Duration;

use shared::{Class, Error, Result};

/// Timeout for blocking threads on exit, because an unresponsive broker must not delay it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a program on a multi-threaded runtime; exit code 1 when the runtime cannot start.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    limit_arenas();
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

/// Limits glibc to two arenas. Each keeps what is freed, and it makes eight for each processor, so that a few threads that
/// take turns with maps of 10 MB hold several times that.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn limit_arenas() {
    const MAX_ARENAS: libc::c_int = 2;
    // SAFETY: mallopt(3) sets a parameter of the allocator, under the allocator's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, MAX_ARENAS) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn limit_arenas() {}

/// Runs work that computes or waits for a disk on a blocking thread, so that it does not delay connections.
///
/// # Errors
/// The work's own; Permanent, naming `what`, when it panics; Retryable, when the runtime shuts down before it starts.
pub async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let class = if error.is_panic() { Class::Permanent } else { Class::Retryable };
        Err(Error::new(class, what).caused_by(error))
    })
}

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Maximum pause after the first failure; doubles with each further one.
    pub first: Duration,
    /// Maximum pause.
    pub max: Duration,
}

impl Backoff {
    /// Pauses from `first`, doubling up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Backoff { first, max }
    }

    /// Maximum pause after a number of failures.
    pub fn longest(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max)
    }

    /// Random pause after a number of failures, between half and all of [`Backoff::longest`], so that clients which
    /// failed together do not retry together.
    pub fn pause(self, failures: u32) -> Duration {
        self.longest(failures).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Calls `attempt` up to `attempts` times, with backoff, while its error is Retryable.
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
    fn pauses_double_up_to_the_maximum_with_jitter() {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let longest = [1, 2, 3, 7, 40].map(|failures| backoff.longest(failures).as_millis());
        assert_eq!(longest, [500, 1000, 2000, 30_000, 30_000]);
        for failures in 1..10 {
            let pause = backoff.pause(failures);
            assert!(pause <= backoff.longest(failures) && pause >= backoff.longest(failures) / 2, "{pause:?}");
        }
    }

    #[tokio::test]
    async fn retries_only_retryable_errors() {
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
    async fn panic_in_blocking_work_is_a_permanent_error() {
        let error = blocking("sky map", || -> Result<()> { panic!("no cells") }).await.expect_err("a panic");
        assert!(!error.is_retryable() && error.to_string().starts_with("sky map: "), "{error}");
    }
}
