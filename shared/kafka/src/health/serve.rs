//! `/healthz` and `/metrics` over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use http_client::Fetch;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use shared::{Context, Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Health;

/// Timeout of a connection and of a health request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a health response that is read.
const MAX_RESPONSE_BYTES: usize = 8 << 10;
/// Maximum concurrent connections; others wait.
const MAX_CONNECTIONS: usize = 8;
/// Pause after a failed accept, for example without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves health and metrics in the background. Returns the bound address, for port 0.
///
/// # Errors
/// Permanent, when the address cannot be bound.
pub async fn serve(health: Arc<Health>, address: SocketAddr) -> Result<SocketAddr> {
    let name = format!("health at `{address}` (HEALTH_ADDR)");
    let listener = TcpListener::bind(address).await.permanent(&name)?;
    let address = listener.local_addr().permanent(&name)?;
    tracing::info!(%address, "serving /healthz and /metrics");
    let service = TowerToHyperService::new(router(health));
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let mut http = http1::Builder::new();
            let connection = http.keep_alive(false).serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                // Ignore slow clients and hang-ups.
                let _ = tokio::time::timeout(TIMEOUT, connection).await;
                drop(permit);
            });
        }
    });
    Ok(address)
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .fallback((StatusCode::NOT_FOUND, "expected /healthz or /metrics\n"))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "expected GET\n"))
        .with_state(health)
}

async fn healthz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.troubles().as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        troubles => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics())
}

/// Requests `/healthz` of the process at `address`.
///
/// # Errors
/// Retryable, when it is unhealthy (with its reasons) or does not respond.
pub async fn check(address: SocketAddr) -> Result<()> {
    // A server on the unspecified address also listens on localhost.
    let host = if address.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let url = format!("http://{}/healthz", SocketAddr::new(host, address.port()));
    let (status, body) = Fetch::new()?.get_any(&url, MAX_RESPONSE_BYTES, TIMEOUT).await?;
    if status == 200 { Ok(()) } else { Err(Error::retryable(String::from_utf8_lossy(&body).trim().to_owned())) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn answers_one_request_per_connection() {
        let settings = config::HealthSettings { address: None, heartbeat: Duration::from_secs(60), mock: None };
        let health = Arc::new(Health::new(&settings, &["igwn.gwalert"]));
        let address = serve(health, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("served");
        assert_eq!(check(address).await, Ok(()));
        for (request, status, body) in [
            ("GET /healthz", "200 OK", "\r\n\r\nok\n"),
            ("HEAD /healthz", "200 OK", "\r\n\r\n"),
            ("GET /metrics", "200 OK", "gwtm_healthy 1\n"),
            ("GET /another", "404 Not Found", "expected /healthz or /metrics\n"),
            ("POST /healthz", "405 Method Not Allowed", "expected GET\n"),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("a response, then the end");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
            assert!(answer.contains(body), "{request}: {answer}");
        }
    }
}
