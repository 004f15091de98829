//! Downloads of orbits and pointings from public services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_client::Fetch;
use shared::{Error, Result};

/// Timeout of the downloads for a product, which leaves time to write.
pub(crate) const NETWORK_TIMEOUT: Duration = Duration::from_secs(4);
/// Time until a failed source is tried again, so that a server that is down delays only one of many alerts.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// A client that remembers which sources have just failed. Clones are cheap and share downloads and failures.
#[derive(Debug, Clone)]
pub(crate) struct Downloads {
    fetch: Fetch,
    /// By URL without its query, which differs from alert to alert.
    failed: Arc<Mutex<HashMap<String, (Instant, Error)>>>,
}

impl Downloads {
    /// A client of its own.
    ///
    /// # Errors
    /// Permanent, when the HTTP client cannot be set up.
    pub(crate) fn new() -> Result<Self> {
        Ok(Downloads { fetch: Fetch::new()?, failed: Arc::default() })
    }

    /// The body of a URL; a source that has failed for the moment is not asked again for [`RETRY_DELAY`].
    ///
    /// # Errors
    /// As [`Fetch::get`].
    pub(crate) async fn get(&self, url: &str, max_bytes: usize, deadline: Instant) -> Result<Bytes> {
        let source = http_client::shown(url);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).get(&source).cloned();
        if let Some((when, error)) = failed
            && when.elapsed() < RETRY_DELAY
        {
            // The reason goes into the annotations, where a time would make each repeat another.
            return Err(error);
        }
        let body = self.fetch.get(url, max_bytes, deadline.saturating_duration_since(Instant::now())).await;
        let mut failures = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &body {
            Err(error) if error.is_retryable() => _ = failures.insert(source, (Instant::now(), error.clone())),
            _ => _ = failures.remove(&source),
        }
        failures.retain(|_, (when, _)| when.elapsed() < RETRY_DELAY);
        body
    }
}
