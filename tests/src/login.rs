//! GCN's log-in: an HTTPS endpoint that issues signed tokens for a client's id and secret (OAuth 2.0 client
//! credentials). The broker verifies them (`Kafka::gcn_address`). Each test uses its own endpoint.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rdkafka::ClientConfig;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::kafka::{Ca, Gcn};
use crate::listener::Listening;
use crate::server::{free_port, local};

/// The client's id.
pub const CLIENT_ID: &str = "a-client";
/// The client's secret.
pub const CLIENT_SECRET: &str = "a-clients-secret-0123456789";

/// Scope of GCN's clients (https://gcn.nasa.gov/docs/client/kafka).
const SCOPE: &str = "gcn.nasa.gov/kafka-public-consumer";

/// A broker's topics with a token endpoint; the endpoint stops with its runtime.
pub struct Login {
    /// The topics.
    pub gcn: Gcn,
    endpoint: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<Endpoint>,
}

/// The authorities that a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The broker's and the endpoint's.
    Both,
    /// Only the broker's.
    Broker,
    /// Only the endpoint's.
    Endpoint,
}

/// How the token endpoint is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Responds with 503.
    Unavailable,
    /// Its port is closed.
    Refused,
}

struct Endpoint {
    signer: EcdsaKeyPair,
    secret: Mutex<String>,
    /// Lifetime of a token and of its session [s].
    life: u64,
    /// Offset of the endpoint's clock, positive when ahead [s].
    skew: AtomicI64,
    closed: watch::Sender<Option<Closed>>,
    given: AtomicU64,
    refused: AtomicU64,
}

impl Login {
    /// Starts an endpoint with tokens of a lifetime.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(gcn: Gcn, life: Duration) -> Login {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = Ca::new("the endpoint's authority");
        let broker = std::fs::read_to_string(gcn.kafka().file("ca.pem")).expect("a certificate");
        for (trust, authorities) in [
            (Trust::Both, ca.pem.clone() + &broker),
            (Trust::Broker, broker.clone()),
            (Trust::Endpoint, ca.pem.clone()),
        ] {
            std::fs::write(authorities_file(folder.path(), trust), authorities).expect("a file");
        }
        let key = std::fs::read(gcn.kafka().file("jwt.key")).expect("a key");
        let random = SystemRandom::new();
        let state = Arc::new(Endpoint {
            signer: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).expect("a key"),
            secret: Mutex::new(CLIENT_SECRET.to_owned()),
            life: life.as_secs(),
            skew: AtomicI64::new(0),
            closed: watch::Sender::default(),
            given: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let endpoint = local(free_port());
        let listener = Some(TcpListener::bind(endpoint).await.expect("a port"));
        let tls = Tls { listener, endpoint, acceptor: acceptor(&ca), closed: state.closed.subscribe() };
        let app = Router::new().route("/oauth2/token", post(token)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(tls, app).await });
        Login { gcn, endpoint, folder, state }
    }

    /// File of the trusted certificates.
    pub fn authorities(&self, trust: Trust) -> String {
        authorities_file(self.folder.path(), trust).display().to_string()
    }

    /// Address of the token endpoint.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("https://localhost:{}/oauth2/token", self.endpoint.port())
    }

    /// Settings of a client that logs in.
    pub fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("KAFKA_BOOTSTRAP", self.gcn.kafka().gcn_address()),
            ("KAFKA_CLIENT_ID", CLIENT_ID.to_owned()),
            ("KAFKA_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("KAFKA_TOKEN_URL", self.token_url()),
            ("KAFKA_CA_LOCATION", self.authorities(Trust::Both)),
        ]
    }

    /// A listener that logs in.
    pub fn listening(&self, store: &Path, api_base: &str) -> Listening {
        let listening = Listening::to(&self.gcn, store, api_base);
        self.settings().into_iter().fold(listening, |listening, (name, value)| listening.set(name, value))
    }

    /// Logs in and sends messages to a topic.
    pub async fn send(&self, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
        let ca = self.authorities(Trust::Both);
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.gcn.kafka().gcn_address())
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanisms", "OAUTHBEARER")
            .set("sasl.oauthbearer.method", "oidc")
            .set("sasl.oauthbearer.client.id", CLIENT_ID)
            .set("sasl.oauthbearer.client.secret", CLIENT_SECRET)
            .set("sasl.oauthbearer.token.endpoint.url", self.token_url())
            .set("sasl.oauthbearer.scope", SCOPE)
            .set("ssl.ca.location", &ca)
            .set("https.ca.location", &ca);
        crate::kafka::send(client, &self.gcn.topic(topic), bodies).await;
    }

    /// Changes the client's secret.
    pub fn change_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state.secret.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Closes the endpoint, or opens it again.
    pub fn close_endpoint(&self, closed: Option<Closed>) {
        self.state.closed.send_replace(closed);
    }

    /// Sets the endpoint's clock ahead \[s\].
    pub fn skew_clock(&self, seconds: i64) {
        self.state.skew.store(seconds, Ordering::SeqCst);
    }

    /// Number of issued tokens, and of rejected requests.
    pub fn tokens(&self) -> (u64, u64) {
        (self.state.given.load(Ordering::SeqCst), self.state.refused.load(Ordering::SeqCst))
    }
}

fn authorities_file(folder: &Path, trust: Trust) -> std::path::PathBuf {
    folder.join(match trust {
        Trust::Both => "both.pem",
        Trust::Broker => "broker.pem",
        Trust::Endpoint => "endpoint.pem",
    })
}

#[derive(Deserialize)]
struct Grant {
    grant_type: String,
    scope: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Accepts client credentials in the header or in the body (RFC 6749, section 2.3.1), like GCN.
async fn token(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, Form(request): Form<Grant>) -> Response {
    if endpoint.closed.borrow().is_some() {
        endpoint.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let secret = endpoint.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT_ID}:{secret}")));
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let in_body = request.client_id.as_deref() == Some(CLIENT_ID) && request.client_secret.as_ref() == Some(&secret);
    let error = if header != Some(&basic) && !in_body {
        Some((StatusCode::UNAUTHORIZED, "invalid_client"))
    } else if request.grant_type != "client_credentials" {
        Some((StatusCode::BAD_REQUEST, "unsupported_grant_type"))
    } else if request.scope != SCOPE {
        Some((StatusCode::BAD_REQUEST, "invalid_scope"))
    } else {
        None
    };
    if let Some((status, error)) = error {
        endpoint.refused.fetch_add(1, Ordering::SeqCst);
        return (status, Json(json!({"error": error}))).into_response();
    }
    endpoint.given.fetch_add(1, Ordering::SeqCst);
    let now = Timestamp::now().as_second() + endpoint.skew.load(Ordering::SeqCst);
    let expires = now.saturating_add(i64::try_from(endpoint.life).unwrap_or(i64::MAX));
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": CLIENT_ID, "iss": "tests", "iat": now, "exp": expires, "scope": request.scope});
    let text = format!("{}.{}", part(json!({"alg": "ES256", "kid": "tests"})), part(claims));
    let signature = endpoint.signer.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
    let token = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": endpoint.life})).into_response()
}

/// A TLS acceptor with a certificate for the loopback interface.
fn acceptor(ca: &Ca) -> TlsAcceptor {
    let (certificate, key) = ca.certificate("a token endpoint");
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate and its key");
    TlsAcceptor::from(Arc::new(config))
}

/// A port with TLS.
struct Tls {
    /// None while the port is closed.
    listener: Option<TcpListener>,
    endpoint: SocketAddr,
    acceptor: TlsAcceptor,
    closed: watch::Receiver<Option<Closed>>,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            if *self.closed.borrow_and_update() == Some(Closed::Refused) {
                self.listener = None;
            } else if self.listener.is_none() {
                self.listener = Some(TcpListener::bind(self.endpoint).await.expect("its port"));
            }
            let accepted = async {
                match &self.listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = accepted => {
                    // Fails for a client that does not trust the certificate.
                    if let Ok((stream, address)) = accepted
                        && let Ok(stream) = self.acceptor.accept(stream).await
                    {
                        return (stream, address);
                    }
                }
                Ok(()) = self.closed.changed() => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.endpoint)
    }
}
