//! Publication → Posted: the only function that writes to the GWTM and has its token.
//!
//! Idempotent: stores every body before posting it, and looks for an earlier post first. Repeats and crashes leave the
//! same rows as one undisturbed run.

mod alert;
mod galaxies;
mod gracedb;
mod icecube;
mod once;
mod rows;
mod view;

use config::Config;
use http_client::Fetch;
use serde::Serialize;
use shared::key::{AlertKind, Key};
use shared::message::{Alert, Galaxies, Post, PostEndpoint, PostStatus, Posted, Products, Publication, Role};
use shared::{Context, Error, Result};
use store::Store;
use treasuremap::{Client, Timing};

use crate::alert::{Removal, removal};
use crate::once::Once;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Stores the bodies, and has the galaxy lists.
    pub store: Store,
    /// The GWTM; none for no posts.
    pub api: Option<Client>,
    /// Reason for having no `api`, for operators.
    pub not_posted: String,
    /// Client for GraceDB's sky maps; none for no requests.
    pub fetch: Option<Fetch>,
    /// URL of GraceDB, without a trailing slash.
    pub gracedb_url: String,
    /// Observing run of posted alerts.
    pub observing_run: String,
    /// Group of posted galaxy lists.
    pub groupname: String,
    /// Whether a retraction removes the superevent's galaxy lists.
    pub remove_on_retraction: bool,
    /// Whether to post the galaxy lists of mock alerts.
    pub galaxies_of_mocks: bool,
}

impl Deps {
    /// Reads the settings, and uses an open store.
    ///
    /// # Errors
    /// Permanent, when API_BASE is no HTTP URL or TLS cannot be initialised.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        let open = |api: &config::Api| Client::new(&api.base, api.token.reveal(), Timing::new(api.timeout, api.settle));
        let api = config.api.as_ref().map(open).transpose()?;
        if config.api.as_ref().is_some_and(|api| http_client::is_exposed(&api.base)) {
            tracing::warn!("API_BASE is plain http: API_TOKEN crosses the network unencrypted; set it to `https://…`");
        }
        Ok(Deps {
            store,
            fetch: api.is_some().then(Fetch::new).transpose()?,
            api,
            not_posted: if config.dry_run { "dry run" } else { "API_BASE is not set" }.to_owned(),
            gracedb_url: config.gracedb_url.clone(),
            observing_run: config.observing_run.clone(),
            groupname: config.galaxies.groupname.clone(),
            remove_on_retraction: config.galaxies.remove_on_retraction,
            galaxies_of_mocks: config.galaxies.mocks,
        })
    }

    /// Reads the settings and opens the store.
    ///
    /// # Errors
    /// As [`Config::open_store`] and [`Deps::new`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Posts an alert, its galaxy list and, after a test alert, the removal of old test alerts; or an IceCube search.
///
/// # Errors
/// Permanent, when the GWTM rejects the request or has unexpected rows; Retryable, when it or the store fails, an
/// earlier alert of this type is not posted yet, or the time budget is used up. The next attempt finds what was posted
/// before the error; if the alert itself was posted, the error names its row.
pub async fn handle(deps: &Deps, publication: Publication) -> Result<Posted> {
    let deps = &Deps { api: deps.api.as_ref().map(Client::begun), ..deps.clone() };
    // Boxed: large futures.
    let posts = match publication {
        Publication::Ligo { alert, products, galaxies } => {
            Box::pin(ligo(deps, &alert, products.as_ref(), galaxies.as_ref())).await?
        }
        Publication::IceCube(search) => vec![Box::pin(icecube::publish(deps, &search)).await?],
    };
    Ok(Posted { posts })
}

/// Posts an alert, its galaxy list and, after a test alert, the removal of old test alerts.
async fn ligo(
    deps: &Deps,
    alert: &Alert,
    products: Option<&Products>,
    galaxies: Option<&Galaxies>,
) -> Result<Vec<Post>> {
    let (post, published) = alert::publish(deps, alert, products).await?;
    let stored = |what: &'static str| {
        let id = published.as_ref().map(|published| published.row.id);
        move |error: Error| match id {
            Some(id) => error.of(format_args!("post_alert: row {id} is stored; {what}")),
            None => error,
        }
    };
    let mut posts = vec![Ok(post)];
    if let Some(published) = &published {
        view::keep(deps, &alert.name, &published.row, &published.rows).await.map_err(stored("its files"))?;
    }
    if let Some(galaxies) = galaxies {
        let post = galaxies::publish(deps, alert, galaxies, published.as_ref()).await;
        posts.push(post.map_err(stored("event_galaxies")));
    }
    if deps.remove_on_retraction && alert.name.alert_type.kind == AlertKind::Retraction {
        galaxies::remove_all(deps, alert).await?;
    }
    if alert.role == Role::Test && removal(alert) != Removal::AtOnce {
        posts.push(Ok(remove_test_alerts(deps).await));
    }
    posts.into_iter().collect()
}

/// Makes the GWTM delete old test alerts. Best effort: the next test alert retries it.
async fn remove_test_alerts(deps: &Deps) -> Post {
    let status = match &deps.api {
        None => PostStatus::NotPosted { reason: deps.not_posted.clone() },
        Some(api) => match api.del_test_alerts().await {
            Ok(()) => PostStatus::Posted { id: None },
            Err(error) => {
                tracing::warn!("old test alerts were not removed: {error}");
                PostStatus::NotPosted { reason: error.to_string() }
            }
        },
    };
    Post { request: PostEndpoint::DelTestAlerts, key: None, status, note: None }
}

/// Serialises a body for the store and the post.
fn bytes_of(body: &impl Serialize) -> Result<bytes::Bytes> {
    let bytes = serde_json::to_vec_pretty(body).permanent("request body")?;
    Ok(bytes.into())
}

/// Stores a body if it changed.
async fn keep(deps: &Deps, key: &Key, body: &impl Serialize) -> Result<()> {
    deps.store.put_if_changed(key, bytes_of(body)?).await.map(drop)
}

/// Logs the changes to a body.
fn warn_all(name: &impl std::fmt::Display, request: &str, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(alert_name = %name, "body of {request}: {warning}");
    }
}

/// The status of a post, with the GWTM's number.
fn status<T>(outcome: &Once<T>, id: impl Fn(&T) -> Option<i64>) -> PostStatus {
    match outcome {
        Once::Posted(stored) => PostStatus::Posted { id: id(stored) },
        Once::AlreadyThere(stored) => PostStatus::AlreadyThere { id: id(stored) },
    }
}
