//! Coverage product of Swift's BAT: reads, fetches, stores and writes for `science::visibility`.
//!
//! The pointing comes from a file or an object of the store, if one is configured; else from the mission's service, whose
//! answers stay in the store (`swift/timeline/`), so that a replay finds those of its hour. A failure costs the product,
//! never the alert, and at most [`crate::once::TIMEOUT`].

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use config::SwiftPointing;
use jiff::Timestamp;
use science::visibility::swift_timeline::{self, Answers, PointingOutcome, Seen, Timeline, Window};
use science::visibility::{bat, swift_pointing};
use serde_json::Value;
use shared::key::{Key, Object, SupereventId};
use shared::message::{Certainty, ProductKind};
use shared::{Error, Result};
use store::Store;

use crate::downloads::{Downloads, NETWORK_TIMEOUT};
use crate::fermi::{no_time, read_file};
use crate::once::{Covered, Made, Upgrade, once};

/// Sources of Swift's pointing. Clones are cheap and share the downloads.
#[derive(Debug, Clone)]
pub struct SwiftSources {
    settings: SwiftPointing,
    downloads: Downloads,
}

impl SwiftSources {
    /// Sources named by the settings.
    ///
    /// # Errors
    /// Permanent, when the HTTP client cannot be set up.
    pub fn new(settings: &SwiftPointing) -> Result<Self> {
        Ok(SwiftSources { settings: settings.clone(), downloads: Downloads::new()? })
    }
}

/// The sky seen by BAT at the time of a signal: written, already there, or missing with the reason. Made once per
/// superevent; a later alert makes a missing one, and replaces a planned one by that of what was flown, once.
///
/// `time`: the time of the signal; a retraction has none.
pub async fn coverage(
    sources: &SwiftSources,
    store: &Store,
    superevent: &SupereventId,
    time: Option<Timestamp>,
) -> Covered {
    let deadline = Instant::now() + NETWORK_TIMEOUT;
    let make = async |_| {
        let time = time.ok_or_else(no_time)?;
        let (swift_pointing::Pointing { start, ra, dec, roll, .. }, from, certainty) =
            match &sources.settings.pointing_file {
                Some(name) => {
                    let from = format!("file `{name}`");
                    (in_file(store, name, time).await.map_err(|error| error.of(&from))?, from, None)
                }
                None => {
                    let (Seen { pointing, is_flown }, from) = in_timeline(sources, store, time, deadline).await?;
                    (pointing, from, Some(if is_flown { Certainty::AsFlown } else { Certainty::Planned }))
                }
            };
        let source = format!(
            "{from}: Swift at RA {ra:.3}°, Dec {dec:.3}°, roll {roll:.3}° since {start}, partial coding > 10 %"
        );
        Ok(Made { sky: bat::field_of_view(ra, dec, roll), source, certainty })
    };
    once(store, ProductKind::SwiftBat, superevent, Upgrade::Possible, make).await
}

/// Number of pointings in a file, or else in an object of the store.
///
/// # Errors
/// Permanent, when there is neither, or it is not a list of pointings; otherwise the error of the store.
pub async fn count(store: Option<&Store>, name: &str) -> Result<usize> {
    let bytes = read(store, name).await?;
    swift_pointing::read(&bytes).map(|all| all.len())
}

async fn in_file(store: &Store, name: &str, time: Timestamp) -> Result<swift_pointing::Pointing> {
    let bytes = read(Some(store), name).await?;
    runtime::blocking("Swift's pointings", move || swift_pointing::at(&swift_pointing::read(&bytes)?, time)).await
}

async fn read(store: Option<&Store>, name: &str) -> Result<Bytes> {
    // An absolute path is no object's name.
    if let (Some(store), Ok(key)) = (store, Key::new(name))
        && !tokio::fs::try_exists(name).await.unwrap_or(true)
    {
        return match store.head(&key).await? {
            None => Err(Error::permanent("expected a file or an object of the store, found neither")),
            Some(head) if head.size > swift_pointing::MAX_FILE_BYTES as u64 => Err(Error::permanent(format!(
                "expected at most {} bytes, found {}",
                swift_pointing::MAX_FILE_BYTES,
                head.size
            ))),
            Some(_) => store.read(&key).await,
        };
    }
    read_file(Path::new(name), swift_pointing::MAX_FILE_BYTES).await
}

/// The pointing at a time and where it is from: the stored timeline, if it says what was flown; else the service's; else
/// the stored plan.
async fn in_timeline(
    sources: &SwiftSources,
    store: &Store,
    time: Timestamp,
    deadline: Instant,
) -> Result<(Seen, String)> {
    const STORE: &str = "the store";
    let window = Window::of(time);
    let kept = stored(store, window).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to read Swift's stored timeline");
        None
    });
    let kept = kept.and_then(|kept| Some((kept.is_flown(time), kept.at(time).ok()?)));
    let seen = |outcome: PointingOutcome, from: &str| match outcome {
        PointingOutcome::Seen(seen) => Ok((seen, from.to_owned())),
        PointingOutcome::Unseen(reason) => Err(Error::permanent(format!("{from}: {reason}"))),
    };
    let kept = match kept {
        Some((true, outcome)) => return seen(outcome, STORE),
        Some((false, outcome)) => Some(outcome),
        None => None,
    };
    let Some(url) = &sources.settings.pointing_url else {
        let none = "no Swift pointing is configured (SWIFT_POINTING_FILE, SWIFT_POINTING_URL)";
        return kept.map_or_else(|| Err(Error::permanent(none)), |outcome| seen(outcome, STORE));
    };
    let from = format!("`{}`", http_client::shown(url));
    let fetched = async {
        let answers = fetch(sources, url, window, time, deadline).await?;
        let outcome = answers.timeline()?.at(time)?;
        keep(store, window, &answers).await;
        Ok::<_, Error>(outcome)
    };
    match (fetched.await, kept) {
        (Ok(outcome), _) => seen(outcome, &from),
        // What was planned is better than nothing.
        (Err(_), Some(planned @ PointingOutcome::Seen(_))) => seen(planned, STORE),
        (Err(error), _) => Err(error.of(&from)),
    }
}

/// The timeline that is kept for an hour.
async fn stored(store: &Store, window: Window) -> Result<Option<Timeline>> {
    let key = Object::SwiftTimeline(&window.name()).key()?;
    let Some(bytes) = store.get(&key).await? else { return Ok(None) };
    let timeline = Answers::read(&bytes).and_then(|answers| answers.timeline());
    timeline.map(Some).map_err(|error| error.of(format!("object `{key}`")))
}

/// Stores answers for later alerts and replays. Best effort: this alert does not need it.
async fn keep(store: &Store, window: Window, answers: &Answers) {
    let kept = async {
        let key = Object::SwiftTimeline(&window.name()).key()?;
        store.put_if_changed(&key, answers.to_json().into()).await
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, "failed to store Swift's timeline");
    }
}

/// The service's answers for a window; with the plan, when what was flown at a time is not known yet.
async fn fetch(
    sources: &SwiftSources,
    url: &str,
    window: Window,
    time: Timestamp,
    deadline: Instant,
) -> Result<Answers> {
    let get = async |request: String| -> Result<Value> {
        let endpoint = request.split('?').next().unwrap_or_default().to_owned();
        let url = format!("{}/{request}", url.trim_end_matches('/'));
        let body = sources.downloads.get(&url, swift_timeline::MAX_ANSWER_BYTES, deadline).await?;
        swift_timeline::json(&body).map_err(|error| error.of(format!("answer of {endpoint}")))
    };
    let pages = async {
        let mut pages = Vec::new();
        for page in 0..swift_timeline::MAX_PAGES {
            let answer = get(window.flown(page)).await?;
            let is_full = swift_timeline::is_full(&answer);
            pages.push(answer);
            if !is_full {
                break;
            }
        }
        Ok(pages)
    };
    // Not `try_join`: the reason goes into the annotations, where that of the first to fail would make each repeat another.
    let (clock, saa, pages) = tokio::join!(get(window.clock()), get(window.saa()), pages);
    let mut answers = Answers::new(window, clock?, saa?, pages?);
    if !answers.timeline()?.is_flown(time) {
        answers.planquery = Some(get(window.planned()).await?);
    }
    Ok(answers)
}
