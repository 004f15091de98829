//! Tokens that a log-in gives: kept until shortly before they end, and shared by every clone of the cache.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::Result;
use tokio::sync::Mutex;

/// How long before its end a token is not used any more; half its life, when that is shorter.
const MARGIN: Duration = Duration::from_secs(60);
/// For how long a token counts as new.
const NEW: SignedDuration = SignedDuration::from_secs(60);

/// A token, or what came with it.
#[derive(Debug)]
pub(super) struct Token<T> {
    value: T,
    given: Timestamp,
    /// From when a new one is asked for.
    stale: Timestamp,
}

impl<T> Token<T> {
    /// A token that was given just now and ends then.
    pub fn until(value: T, end: Timestamp) -> Self {
        let given = Timestamp::now();
        Token { value, given, stale: stale(given, end) }
    }
}

/// The token that was given last.
#[derive(Debug, Clone)]
pub(super) struct TokenCache<T> {
    /// Locked while somebody logs in: the others wait for the same token.
    token: Arc<Mutex<Option<Token<T>>>>,
}

impl<T> Default for TokenCache<T> {
    fn default() -> Self {
        TokenCache { token: Arc::default() }
    }
}

impl<T: Clone + PartialEq> TokenCache<T> {
    /// The token that is there, or the one that `log_in` brings.
    pub async fn get(&self, log_in: impl Future<Output = Result<Token<T>>>) -> Result<T> {
        self.get_younger(SignedDuration::MAX, log_in).await
    }

    /// A new token, for a request that cannot be made again.
    pub async fn new_one(&self, log_in: impl Future<Output = Result<Token<T>>>) -> Result<T> {
        self.get_younger(NEW, log_in).await
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

    /// The token that is there.
    pub async fn peek(&self) -> Option<T> {
        self.token.lock().await.as_ref().map(|token| token.value.clone())
    }

    /// Forgets a token that was refused, unless somebody has a newer one already.
    pub async fn forget(&self, refused: &T) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.value == *refused) {
            *token = None;
        }
    }
}

/// When a token given now is not used any more.
fn stale(now: Timestamp, end: Timestamp) -> Timestamp {
    let margin = SignedDuration::try_from(MARGIN).unwrap_or_default();
    let half = now.duration_until(end) / 2;
    end - margin.min(half).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let after = |seconds: i64| stale(now, now + SignedDuration::from_secs(seconds)).duration_since(now).as_secs();
        assert_eq!((after(3600), after(10), after(0), after(-5)), (3540, 5, 0, -5));
    }

    #[tokio::test]
    async fn requests_share_one_token_until_it_is_refused() {
        let cache = TokenCache::default();
        let logged_in = std::sync::atomic::AtomicU32::new(0);
        let token = || async {
            let number = logged_in.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Token::until(number, Timestamp::now() + SignedDuration::from_secs(3600)))
        };
        let all = futures::future::join_all((0..8).map(|_| cache.get(token()))).await;
        assert!(all.iter().all(|given| *given == Ok(0)), "{all:?}");
        cache.forget(&7).await;
        assert_eq!((cache.get(token()).await, cache.new_one(token()).await), (Ok(0), Ok(0)));
        cache.forget(&0).await;
        assert_eq!((cache.peek().await, cache.get(token()).await), (None, Ok(1)));
    }
}
