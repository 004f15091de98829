//! Makes a POST exactly once, even if a server process stores it late.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::key::Key;
use shared::{Context, Error, Result};
use treasuremap::{Client, RequestError};

use crate::{Deps, bytes_of};

/// The outcome of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Once<T> {
    /// Posted now.
    Posted(T),
    /// Stored by an earlier POST.
    AlreadyThere(T),
}

/// Maximum claims of one POST. Each is left by a process that ended during the POST, or by a POST without a response.
const MAX_CLAIMS: u32 = 1_000;

/// The object that claims a POST, stored from before the POST until its response.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// Time of the claim, or start of the POST.
    begun: Timestamp,
}

/// The claim of a POST: only its owner may post until it expires.
struct Claim {
    /// The expired claims, then the current one.
    keys: Vec<Key>,
    /// Time of the current claim or of its renewal.
    begun: Timestamp,
    /// Whether this invocation owns it.
    is_ours: bool,
}

/// An error, by whether a POST may still be stored.
enum PostFailure {
    /// Nothing is or will be stored.
    Known(Error),
    /// It may be stored, now or later.
    Unknown(Error),
}

/// Claims the POST, looks for an earlier one, and posts if there is none.
///
/// Two processes may handle one notice, for example in a rolling update, and both may look before either posts. So only
/// the one that creates `pending(0)` posts; the other one waits for the row.
///
/// A busy server process may store a POST long after the client's timeout, while another process responds to every look
/// that there is no row. So after a POST without a response (timeout, broken connection, crash) the claim remains, and
/// only looks are allowed until it is `Timing::settle` old. Then `pending(1)` claims the next POST, and so on. After an
/// error response one look suffices.
///
/// A duplicate is possible only if the store lets two processes create one name, or their clocks differ by half of
/// `Timing::settle`.
///
/// # Errors
/// The errors of `look`; Permanent, when the server rejects the POST; Retryable, while another process posts or the
/// outcome of a POST is unknown, and when the attempts or the time budget are used up.
pub(crate) async fn once<T, L, P>(
    deps: &Deps,
    api: &Client,
    pending: impl Fn(u32) -> Result<Key>,
    look: impl Fn() -> L,
    post: impl Fn() -> P,
) -> Result<Once<T>>
where
    L: Future<Output = Result<Option<T>>>,
    P: Future<Output = std::result::Result<T, RequestError>>,
{
    let mut claim = Claim::take(deps, api, &pending).await?;
    let outcome = if claim.is_ours {
        claimed(deps, api, &mut claim, look, post).await
    } else {
        wait(api, &claim, look).await.map_err(PostFailure::Unknown)
    };
    match outcome {
        Ok(done) => {
            claim.end(deps, pending).await?;
            Ok(done)
        }
        Err(PostFailure::Known(error)) => {
            claim.give_back(deps, api).await?;
            Err(error)
        }
        Err(PostFailure::Unknown(error)) => Err(error),
    }
}

/// Looks for the post of another process.
async fn wait<T, L>(api: &Client, claim: &Claim, look: impl Fn() -> L) -> Result<Once<T>>
where
    L: Future<Output = Result<Option<T>>>,
{
    for attempt in 1..=2 {
        if let Some(found) = look().await? {
            return Ok(Once::AlreadyThere(found));
        }
        if attempt == 1 {
            api.pause(attempt).await;
        }
    }
    Err(Error::retryable(format!(
        "no response to the POST of {begun:.0}, which is not stored yet: looking for it until {until:.0} before posting \
         again (API_SETTLE_SECONDS)",
        begun = claim.begun,
        until = claim.until(api)
    )))
}

/// Looks and posts, as the owner of the claim.
async fn claimed<T, L, P>(
    deps: &Deps,
    api: &Client,
    claim: &mut Claim,
    look: impl Fn() -> L,
    post: impl Fn() -> P,
) -> std::result::Result<Once<T>, PostFailure>
where
    L: Future<Output = Result<Option<T>>>,
    P: Future<Output = std::result::Result<T, RequestError>>,
{
    if let Some(found) = look().await.map_err(PostFailure::Known)? {
        return Ok(Once::AlreadyThere(found));
    }
    let mut attempt = 1;
    api.begin_post(attempt).map_err(PostFailure::Known)?;
    loop {
        claim.renew(deps, api).await.map_err(PostFailure::Known)?;
        let error = match post().await {
            Ok(stored) => return Ok(Once::Posted(stored)),
            Err(RequestError::Refused(error)) => return Err(PostFailure::Known(error)),
            Err(RequestError::Over(error)) => {
                api.pause(attempt).await;
                if let Some(found) = look().await.map_err(PostFailure::Known)? {
                    return Ok(Once::Posted(found));
                }
                error
            }
            Err(RequestError::Unknown(error)) => {
                for i in 0..api.timing().looks {
                    api.pause(attempt + i).await;
                    match look().await {
                        Ok(Some(found)) => return Ok(Once::Posted(found)),
                        Ok(None) => {}
                        Err(error) if error.is_retryable() => {}
                        Err(error) => return Err(PostFailure::Unknown(error)),
                    }
                }
                let until = claim.until(api);
                return Err(PostFailure::Unknown(Error::retryable(format!(
                    "no response to the POST of {:.0}, which is not stored yet: looking for it until {until:.0} before \
                     posting again (API_SETTLE_SECONDS): {error}",
                    claim.begun
                ))));
            }
        };
        attempt += 1;
        if attempt > api.timing().attempts || api.begin_post(attempt).is_err() {
            return Err(PostFailure::Known(error));
        }
        tracing::info!("posting again: {error}");
    }
}

impl Claim {
    /// Claims a POST, or finds the current claim.
    ///
    /// # Errors
    /// The store's errors; Permanent after [`MAX_CLAIMS`].
    async fn take(deps: &Deps, api: &Client, pending: &impl Fn(u32) -> Result<Key>) -> Result<Claim> {
        let mut claim = Claim { keys: Vec::new(), begun: Timestamp::now(), is_ours: false };
        for n in 0..MAX_CLAIMS {
            let key = pending(n)?;
            claim.begun = Timestamp::now();
            claim.is_ours = deps.store.put_if_absent(&key, bytes_of(&Pending { begun: claim.begun })?).await?;
            if !claim.is_ours
                && let Some(begun) = begun(deps, &key).await?
            {
                claim.begun = begun;
            }
            claim.keys.push(key);
            // A claim that was released meanwhile is retried by the next invocation.
            if claim.is_ours || claim.age() < settle(api) {
                return Ok(claim);
            }
        }
        Err(Error::permanent(format!("expected fewer than {MAX_CLAIMS} POSTs without a response")))
    }

    fn age(&self) -> SignedDuration {
        Timestamp::now().duration_since(self.begun)
    }

    /// When the claim expires.
    fn until(&self, api: &Client) -> Timestamp {
        self.begun.checked_add(settle(api)).unwrap_or(Timestamp::MAX)
    }

    /// Whether another process may soon claim the POST, with a margin for clock differences.
    fn is_old(&self, api: &Client) -> bool {
        self.age() >= settle(api) / 2
    }

    /// Renews the claim just before a POST.
    ///
    /// # Errors
    /// Retryable, when it is too old; the store's errors.
    async fn renew(&mut self, deps: &Deps, api: &Client) -> Result<()> {
        if self.is_old(api) {
            let age = self.age().as_secs_f64();
            return Err(Error::retryable(format!("not posted: claimed {age:.1} s ago (API_SETTLE_SECONDS)")));
        }
        if let Some(key) = self.keys.last()
            && self.age() > settle(api) / 100
        {
            self.begun = Timestamp::now();
            deps.store.put(key, bytes_of(&Pending { begun: self.begun })?).await?;
        }
        Ok(())
    }

    /// Releases the claim of a POST that stored nothing.
    async fn give_back(&self, deps: &Deps, api: &Client) -> Result<()> {
        match self.keys.last() {
            Some(key) if !self.is_old(api) => deps.store.delete(key).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Deletes all claims after the POST is stored, also those made after this one expired: a later claim finds the row.
    async fn end(&self, deps: &Deps, pending: impl Fn(u32) -> Result<Key>) -> Result<()> {
        for key in &self.keys {
            deps.store.delete(key).await?;
        }
        for n in self.keys.len() as u32..MAX_CLAIMS {
            let key = pending(n)?;
            if deps.store.head(&key).await?.is_none() {
                break;
            }
            deps.store.delete(&key).await?;
        }
        Ok(())
    }
}

fn settle(api: &Client) -> SignedDuration {
    SignedDuration::try_from(api.timing().settle).unwrap_or(SignedDuration::MAX)
}

/// Reads the time of a claim; `None` if it is deleted or still being written.
async fn begun(deps: &Deps, key: &Key) -> Result<Option<Timestamp>> {
    // Some file systems create the name before the content.
    let Some(bytes) = deps.store.get(key).await?.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let pending: Pending =
        serde_json::from_slice(&bytes).permanent(format_args!("object `{key}`: expected the start of a POST"))?;
    Ok(Some(pending.begun))
}
