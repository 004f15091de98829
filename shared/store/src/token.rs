//! A cache of log-in tokens, shared by its clones, renewed shortly before they expire.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::Result;
use tokio::sync::Mutex;

/// How long before its expiry a token is renewed; at most half its lifetime.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a token counts as fresh.
const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// A token, or a session with one.
#[derive(Debug)]
pub(super) struct Token<T> {
    value: T,
    given: Timestamp,
    /// When to renew it.
    stale: Timestamp,
}

impl<T> Token<T> {
    /// A token issued now that expires at `end`.
    pub fn until(value: T, end: Timestamp) -> Self {
        let given = Timestamp::now();
        Token { value, given, stale: stale(given, end) }
    }
}

/// The last token.
#[derive(Debug, Clone)]
pub(super) struct TokenCache<T> {
    /// Locked during a log-in, so that concurrent requests share its token.
    token: Arc<Mutex<Option<Token<T>>>>,
}

impl<T> Default for TokenCache<T> {
    fn default() -> Self {
        TokenCache { token: Arc::default() }
    }
}

impl<T: Clone + PartialEq> TokenCache<T> {
    /// Returns the cached token, or logs in.
    pub async fn get(&self, log_in: impl Future<Output = Result<Token<T>>>) -> Result<T> {
        self.get_younger(SignedDuration::MAX, log_in).await
    }

    /// Returns a fresh token, for a request that cannot be retried.
    pub async fn fresh(&self, log_in: impl Future<Output = Result<Token<T>>>) -> Result<T> {
        self.get_younger(FRESH, log_in).await
    }

    async fn get_younger(&self, age: SignedDuration, log_in: impl Future<Output = Result<Token<T>>>) -> Result<T> {
        let mut token = self.token.lock().await;
        let now = Timestamp::now();
        let is_good = |token: &&Token<T>| now < token.stale && now.duration_since(token.given) < age;
        if let Some(token) = token.as_ref().filter(is_good) {
            return Ok(token.value.clone());
        }
        let given = log_in.await?;
        Ok(token.insert(given).value.clone())
    }

    /// Returns the cached token.
    pub async fn peek(&self) -> Option<T> {
        self.token.lock().await.as_ref().map(|token| token.value.clone())
    }

    /// Drops a rejected token, unless a newer one has replaced it.
    pub async fn forget(&self, refused: &T) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.value == *refused) {
            *token = None;
        }
    }
}

/// When to renew a token that is issued at `now` and expires at `end`.
fn stale(now: Timestamp, end: Timestamp) -> Timestamp {
    let margin = SignedDuration::try_from(MARGIN).unwrap_or_default();
    let half = now.duration_until(end) / 2;
    end - margin.min(half).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_a_token_before_it_expires() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let after = |seconds: i64| stale(now, now + SignedDuration::from_secs(seconds)).duration_since(now).as_secs();
        assert_eq!((after(3600), after(10), after(0), after(-5)), (3540, 5, 0, -5));
    }

    #[tokio::test]
    async fn requests_share_one_token_until_it_is_rejected() {
        let cache = TokenCache::default();
        let logged_in = std::sync::atomic::AtomicU32::new(0);
        let token = || async {
            let number = logged_in.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Token::until(number, Timestamp::now() + SignedDuration::from_secs(3600)))
        };
        let all = futures::future::join_all((0..8).map(|_| cache.get(token()))).await;
        assert!(all.iter().all(|given| *given == Ok(0)), "{all:?}");
        cache.forget(&7).await;
        assert_eq!((cache.get(token()).await, cache.fresh(token()).await), (Ok(0), Ok(0)));
        cache.forget(&0).await;
        assert_eq!((cache.peek().await, cache.get(token()).await), (None, Ok(1)));
    }
}
