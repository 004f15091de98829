//! The order of the functions, for everything that runs in one process.
//!
//! `infra/flows/*.asl.yaml` hold the same order for Step Functions, and a test compares the two. The handlers come as
//! arguments, so this room knows no function. Nothing is retried here: an error keeps its class, and the caller
//! decides.

use std::time::{Duration, Instant};

use shared::Result;
use shared::error::caught;
use shared::key::AlertName;
use shared::message::{Alert, Annotated, Galaxies, Ingested, Posted, Products, Publication, Received, Settled};

/// What a stage answered, and how long it took.
#[derive(Debug, Clone)]
pub struct Stage<T> {
    /// The answer.
    pub answer: Result<T>,
    /// How long it took.
    pub duration: Duration,
}

/// What became of one alert.
#[derive(Debug, Clone)]
pub struct AlertOutcome {
    /// The alert.
    pub alert: Alert,
    /// `skymap-products`; its failure does not stop the post.
    pub products: Stage<Products>,
    /// `galaxy-list`; its failure does not stop the post.
    pub galaxies: Stage<Galaxies>,
    /// `post-api`.
    pub posted: Stage<Posted>,
    /// `annotate`; its failure is nobody's loss but the readers'.
    pub annotated: Stage<Annotated>,
}

/// What became of a LIGO/Virgo/KAGRA notice.
#[derive(Debug, Clone)]
pub struct LigoOutcome {
    /// `ingest-ligo`: how many alerts the notice holds.
    pub ingested: Stage<usize>,
    /// Each alert, in the order in which it was posted; empty when the notice could not be ingested.
    pub alerts: Vec<AlertOutcome>,
}

/// What became of an IceCube notice.
#[derive(Debug, Clone)]
pub struct IceCubeOutcome {
    /// `ingest-icecube`.
    pub ingested: Stage<Publication>,
    /// `post-api`; absent when the notice could not be ingested.
    pub posted: Option<Stage<Posted>>,
}

/// Runs the flow `ligo`: ingest-ligo → for each alert ( skymap-products ‖ galaxy-list ) → post-api → annotate.
///
/// The alerts follow one another, since the GWTM counts them in the order in which they are posted; the second is
/// tried when the first failed, since the two are of different types.
pub async fn ligo<I, P, G, O, A>(
    received: Received,
    ingest_ligo: impl Fn(Received) -> I,
    skymap_products: impl Fn(Alert) -> P,
    galaxy_list: impl Fn(Alert) -> G,
    post_api: impl Fn(Publication) -> O,
    annotate: impl Fn(Settled) -> A,
) -> LigoOutcome
where
    I: Future<Output = Result<Ingested>>,
    P: Future<Output = Result<Products>>,
    G: Future<Output = Result<Galaxies>>,
    O: Future<Output = Result<Posted>>,
    A: Future<Output = Result<Annotated>>,
{
    let Stage { answer, duration } = stage("ingest-ligo", None, || ingest_ligo(received)).await;
    let ingested =
        Stage { answer: answer.as_ref().map(|ingested| ingested.alerts.len()).map_err(Clone::clone), duration };
    let mut alerts = Vec::new();
    for alert in answer.map(|ingested| ingested.alerts).unwrap_or_default() {
        let (products, galaxies) = futures::join!(
            stage("skymap-products", Some(&alert.name), || skymap_products(alert.clone())),
            stage("galaxy-list", Some(&alert.name), || galaxy_list(alert.clone()))
        );
        let mut settled = Settled {
            alert: Box::new(alert.clone()),
            products: products.answer.as_ref().ok().cloned(),
            galaxies: galaxies.answer.as_ref().ok().cloned(),
            posted: None,
        };
        let publication = Publication::Ligo {
            alert: settled.alert.clone(),
            products: settled.products.clone(),
            galaxies: settled.galaxies.clone(),
        };
        let posted = stage("post-api", Some(&alert.name), || post_api(publication)).await;
        settled.posted = posted.answer.as_ref().ok().cloned();
        let annotated = stage("annotate", Some(&alert.name), || annotate(settled)).await;
        alerts.push(AlertOutcome { alert, products, galaxies, posted, annotated });
    }
    LigoOutcome { ingested, alerts }
}

/// Runs the flow `icecube`: ingest-icecube → post-api.
pub async fn icecube<I, O>(
    received: Received,
    ingest_icecube: impl Fn(Received) -> I,
    post_api: impl Fn(Publication) -> O,
) -> IceCubeOutcome
where
    I: Future<Output = Result<Publication>>,
    O: Future<Output = Result<Posted>>,
{
    let ingested = stage("ingest-icecube", None, || ingest_icecube(received)).await;
    let posted = match &ingested.answer {
        Ok(publication) => Some(stage("post-api", None, || post_api(publication.clone())).await),
        Err(_) => None,
    };
    IceCubeOutcome { ingested, posted }
}

/// Runs one handler; a panic is an answer and not a dead process.
async fn stage<T, F: Future<Output = Result<T>>>(
    function: &str,
    alert: Option<&AlertName>,
    handler: impl FnOnce() -> F,
) -> Stage<T> {
    let begun = Instant::now();
    let answer = caught(async { handler().await }).await;
    let duration = begun.elapsed();
    let error = answer.as_ref().err().map(tracing::field::display);
    let alert = alert.map(tracing::field::display);
    tracing::debug!(function, alert.name = alert, duration_ms = duration.as_millis(), error, "function ended");
    Stage { answer, duration }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use shared::Error;
    use shared::message::{Body, Role};

    fn alert(name: &str) -> Alert {
        Alert {
            name: name.parse().expect("a name"),
            role: Role::Test,
            time_created: "2018-11-01T22:34:49Z".parse().expect("a time"),
            time_of_signal: None,
            event: None,
            external: None,
            skymap: None,
            summary: None,
        }
    }

    fn received() -> Received {
        Received {
            topic: "igwn.gwalert".into(),
            partition: None,
            offset: None,
            kafka_time: None,
            body: Body::Inline("{}".into()),
        }
    }

    #[tokio::test]
    async fn failing_products_and_galaxies_stop_neither_the_post_nor_the_next_alert() {
        let posted = Mutex::new(Vec::new());
        let outcome = ligo(
            received(),
            async |_| Ok(Ingested { alerts: vec![alert("MS181101ab-Update"), alert("MS181101ab-Update-ExtCoinc")] }),
            async |_| -> Result<Products> { panic!("no products") },
            async |_| Err(Error::retryable("no galaxies")),
            async |publication: Publication| {
                let Publication::Ligo { alert, products: None, galaxies: None } = publication else {
                    return Err(Error::permanent("expected an alert alone"));
                };
                posted.lock().expect("a lock").push(alert.name.to_string());
                Err(Error::retryable("API down"))
            },
            async |settled: Settled| {
                assert!(settled.products.is_none() && settled.galaxies.is_none() && settled.posted.is_none());
                Err(Error::permanent("no annotations"))
            },
        )
        .await;
        assert_eq!(*posted.lock().expect("a lock"), ["MS181101ab-Update", "MS181101ab-Update-ExtCoinc"]);
        let first = &outcome.alerts[0];
        assert!(first.products.answer.as_ref().is_err_and(|error| error.to_string() == "panic: no products"));
        assert!(first.galaxies.answer.as_ref().is_err_and(Error::is_retryable));
        assert!(first.posted.answer.as_ref().is_err_and(Error::is_retryable));
        assert!(first.annotated.answer.as_ref().is_err_and(|error| error.to_string() == "no annotations"));
    }

    #[tokio::test]
    async fn what_cannot_be_ingested_is_not_posted() {
        let outcome = icecube(
            received(),
            async |_| Err(Error::permanent("not a notice")),
            async |_| -> Result<Posted> { panic!("posted") },
        )
        .await;
        assert!(outcome.ingested.answer.is_err() && outcome.posted.is_none());
    }
}
