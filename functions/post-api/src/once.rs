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

/// A POST whose fate is not known: it lies in the store from before the POST until its answer.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// When the POST began.
    begun: Timestamp,
}

/// Looks, and posts when nothing is there.
///
/// The server may store a POST long after anybody waits for its answer: one process holds it while another answers every
/// look with nothing. So after a POST without an answer (its time was up, the connection broke, this process ended) only
/// looking is allowed until `Timing::settle` has passed since it began, in this call and in the calls after it; `pending`
/// is where that is remembered. After a POST that was answered with a failure, one look tells.
///
/// # Errors
/// Whatever `look` says; Permanent when the server refuses; Retryable while the fate of a POST is not known, when
/// attempts are used up, or when the time of this call is.
pub(crate) async fn once<T, L, P>(
    deps: &Deps,
    api: &Client,
    pending: &Key,
    look: impl Fn() -> L,
    post: impl Fn() -> P,
) -> Result<Once<T>>
where
    L: Future<Output = Result<Option<T>>>,
    P: Future<Output = std::result::Result<T, RequestError>>,
{
    if let Some(found) = look().await? {
        deps.store.delete(pending).await?;
        return Ok(Once::AlreadyThere(found));
    }
    if let Some(begun) = begun(deps, pending).await? {
        still_pending(api, begun)?;
    }
    let mut attempt = 1;
    api.begin_post(attempt)?;
    loop {
        let begun = Timestamp::now();
        deps.store.put(pending, bytes_of(&Pending { begun })?).await?;
        let error = match post().await {
            Ok(stored) => {
                deps.store.delete(pending).await?;
                return Ok(Once::Posted(stored));
            }
            Err(RequestError::Refused(error)) => {
                deps.store.delete(pending).await?;
                return Err(error);
            }
            Err(RequestError::Over(error)) => {
                deps.store.delete(pending).await?;
                api.pause(attempt).await;
                if let Some(found) = look().await? {
                    return Ok(Once::Posted(found));
                }
                error
            }
            Err(RequestError::Unknown(error)) => {
                for i in 0..api.timing().looks {
                    api.pause(attempt + i).await;
                    match look().await {
                        Ok(Some(found)) => {
                            deps.store.delete(pending).await?;
                            return Ok(Once::Posted(found));
                        }
                        Ok(None) => {}
                        Err(error) if error.is_retryable() => {}
                        Err(error) => return Err(error),
                    }
                }
                return still_pending(api, begun).map_err(|pending| pending.of(&error)).and(Err(error));
            }
        };
        attempt += 1;
        if attempt > api.timing().attempts || api.begin_post(attempt).is_err() {
            return Err(error);
        }
        tracing::info!("posting again: {error}");
    }
}

/// # Errors
/// Retryable, until it may be posted again.
fn still_pending(api: &Client, begun: Timestamp) -> Result<()> {
    let settle = SignedDuration::try_from(api.timing().settle).unwrap_or(SignedDuration::MAX);
    let until = begun.checked_add(settle).unwrap_or(Timestamp::MAX);
    if Timestamp::now() >= until {
        return Ok(());
    }
    Err(Error::retryable(format!(
        "the POST of {begun:.0} got no answer and is not stored yet: looked for until {until:.0} before it is made again \
         (API_SETTLE_SECONDS)"
    )))
}

/// When the POST began whose fate is not known.
async fn begun(deps: &Deps, pending: &Key) -> Result<Option<Timestamp>> {
    let Some(bytes) = deps.store.get(pending).await? else { return Ok(None) };
    let pending: Pending =
        serde_json::from_slice(&bytes).permanent(format_args!("object `{pending}`: expected when a POST began"))?;
    Ok(Some(pending.begun))
}
