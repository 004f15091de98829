//! A POST that takes effect once, whichever process of the server has it and however late.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::key::Key;
use shared::{Context, Error, Result};
use treasuremap::{Client, RequestError};

use crate::{Deps, bytes_of};

/// What became of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Once<T> {
    /// It was made and stored.
    Posted(T),
    /// An earlier one had been stored.
    AlreadyThere(T),
}

/// The most claims of one POST: each is of a process that ended during its POST, or of a POST that got no answer.
const MAX_CLAIMS: u32 = 1_000;

/// An object that claims a POST: it lies in the store from before the POST until its answer is known.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// When it was claimed, or when the POST began.
    begun: Timestamp,
}

/// The claim of a POST: the only process that may make it, and until when.
struct Claim {
    /// Claims that are too old, and after them the one that holds.
    keys: Vec<Key>,
    /// When the one that holds was made or renewed.
    begun: Timestamp,
    /// Whether this call holds it.
    is_ours: bool,
}

/// Why a POST was not made, or may not have been.
enum Failed {
    /// Nothing of it is stored, or will be.
    Known(Error),
    /// It may be stored yet.
    Unknown(Error),
}

/// Claims the POST, looks, and posts when nothing is there.
///
/// Two processes may hold one notice, in a rolling update for example, and both may look before either has posted. So only
/// the one that creates `pending(0)` posts; the other waits for its row.
///
/// The server may store a POST long after anybody waits for its answer: one process holds it while another answers every
/// look with nothing. So after a POST without an answer (its time was up, the connection broke, this process ended) the
/// claim stays, and only looking is allowed until `Timing::settle` has passed since it was made; then `pending(1)` claims
/// the next POST, and so on. After a POST that was answered with a failure, one look tells.
///
/// Two processes post one thing only where the store lets two create one name, or where their clocks differ by half of
/// `Timing::settle`.
///
/// # Errors
/// Whatever `look` says; Permanent when the server refuses; Retryable while another process posts or the fate of a POST is
/// not known, when attempts are used up, or when the time of this call is.
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
    let mut claim = Claim::take(deps, api, pending).await?;
    let outcome = if claim.is_ours {
        claimed(deps, api, &mut claim, look, post).await
    } else {
        wait(api, &claim, look).await.map_err(Failed::Unknown)
    };
    match outcome {
        Ok(done) => {
            claim.end(deps).await?;
            Ok(done)
        }
        Err(Failed::Known(error)) => {
            claim.give_back(deps, api).await?;
            Err(error)
        }
        Err(Failed::Unknown(error)) => Err(error),
    }
}

/// Looks for what another process posts.
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
        "the POST of {begun:.0} got no answer and is not stored yet: looked for until {until:.0} before it is made again \
         (API_SETTLE_SECONDS)",
        begun = claim.begun,
        until = claim.until(api)
    )))
}

/// Looks, and posts when nothing is there, under a claim.
async fn claimed<T, L, P>(
    deps: &Deps,
    api: &Client,
    claim: &mut Claim,
    look: impl Fn() -> L,
    post: impl Fn() -> P,
) -> std::result::Result<Once<T>, Failed>
where
    L: Future<Output = Result<Option<T>>>,
    P: Future<Output = std::result::Result<T, RequestError>>,
{
    if let Some(found) = look().await.map_err(Failed::Known)? {
        return Ok(Once::AlreadyThere(found));
    }
    let mut attempt = 1;
    api.begin_post(attempt).map_err(Failed::Known)?;
    loop {
        claim.renew(deps, api).await.map_err(Failed::Known)?;
        let error = match post().await {
            Ok(stored) => return Ok(Once::Posted(stored)),
            Err(RequestError::Refused(error)) => return Err(Failed::Known(error)),
            Err(RequestError::Over(error)) => {
                api.pause(attempt).await;
                if let Some(found) = look().await.map_err(Failed::Known)? {
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
                        Err(error) => return Err(Failed::Unknown(error)),
                    }
                }
                let until = claim.until(api);
                return Err(Failed::Unknown(Error::retryable(format!(
                    "the POST of {:.0} got no answer and is not stored yet: looked for until {until:.0} before it is made \
                     again (API_SETTLE_SECONDS): {error}",
                    claim.begun
                ))));
            }
        };
        attempt += 1;
        if attempt > api.timing().attempts || api.begin_post(attempt).is_err() {
            return Err(Failed::Known(error));
        }
        tracing::info!("posting again: {error}");
    }
}

impl Claim {
    /// Claims a POST, or finds who has claimed it.
    ///
    /// # Errors
    /// What the store says; Permanent after [`MAX_CLAIMS`].
    async fn take(deps: &Deps, api: &Client, pending: impl Fn(u32) -> Result<Key>) -> Result<Claim> {
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
            // One that is gone by now was just given back, and is tried for with the next call.
            if claim.is_ours || claim.age() < settle(api) {
                return Ok(claim);
            }
        }
        Err(Error::permanent(format!("expected fewer than {MAX_CLAIMS} POSTs without an answer")))
    }

    fn age(&self) -> SignedDuration {
        Timestamp::now().duration_since(self.begun)
    }

    /// When another process may post.
    fn until(&self, api: &Client) -> Timestamp {
        self.begun.checked_add(settle(api)).unwrap_or(Timestamp::MAX)
    }

    /// Whether it is so old that another process may be about to claim the POST.
    fn is_old(&self, api: &Client) -> bool {
        self.age() >= settle(api) / 2
    }

    /// Lets the time of the claim run from now, just before a POST.
    ///
    /// # Errors
    /// Retryable, when it is too old for that; what the store says otherwise.
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

    /// Lets others claim the POST at once, of which nothing is stored.
    async fn give_back(&self, deps: &Deps, api: &Client) -> Result<()> {
        match self.keys.last() {
            Some(key) if !self.is_old(api) => deps.store.delete(key).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Removes every claim, since what they are for is stored: whoever claims it now finds it.
    async fn end(&self, deps: &Deps) -> Result<()> {
        for key in &self.keys {
            deps.store.delete(key).await?;
        }
        Ok(())
    }
}

fn settle(api: &Client) -> SignedDuration {
    SignedDuration::try_from(api.timing().settle).unwrap_or(SignedDuration::MAX)
}

/// When a POST was claimed; `None` when the claim is gone, or is being made.
async fn begun(deps: &Deps, key: &Key) -> Result<Option<Timestamp>> {
    // Some file systems create a name first, and what it holds a moment later.
    let Some(bytes) = deps.store.get(key).await?.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let pending: Pending =
        serde_json::from_slice(&bytes).permanent(format_args!("object `{key}`: expected when a POST began"))?;
    Ok(Some(pending.begun))
}
