//! GCN's log-in before a broker that has none: an HTTPS endpoint that gives tokens for a client's id and secret (OAuth 2.0
//! client credentials), and a front of the broker that speaks TLS and wants such a token by SASL/OAUTHBEARER (RFC 7628),
//! again and again before a session ends (KIP-368).

mod front;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
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
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::listener::Listening;
use crate::tansu::{Tansu, free_port};

/// The client's id.
pub const CLIENT_ID: &str = "a-client";
/// The client's secret.
pub const CLIENT_SECRET: &str = "a-clients-secret-0123456789";

/// What GCN's clients ask for (https://gcn.nasa.gov/docs/client/kafka).
const SCOPE: &str = "gcn.nasa.gov/kafka-public-consumer";

/// A broker behind a log-in; all of it ends with this value and its runtime.
pub struct Guarded {
    /// The broker itself.
    pub broker: Tansu,
    /// The front's address.
    address: SocketAddr,
    endpoint: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<Guard>,
}

/// Whose certificates a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// One that clients are told to trust.
    Trusted,
    /// Another.
    Unknown,
}

/// What the endpoint and the front share.
struct Guard {
    secret: Mutex<String>,
    /// How long a token and the session that it opens last [s].
    life: u64,
    closed: std::sync::atomic::AtomicBool,
    counts: Counts,
}

/// What has been asked for.
#[derive(Debug, Default)]
struct Counts {
    tokens: AtomicU64,
    refused: AtomicU64,
    sessions: AtomicU64,
    renewals: AtomicU64,
    expired: AtomicU64,
}

/// A token's claims (RFC 7519).
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
    scope: String,
}

impl Guarded {
    /// Starts a broker behind a log-in whose tokens live so long; the front shows a certificate of `front`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(life: Duration, front: Authority) -> Guarded {
        let folder = tempfile::tempdir().expect("a folder");
        let (trusted, unknown) = (Ca::new("an authority"), Ca::new("another authority"));
        std::fs::write(folder.path().join("ca.pem"), &trusted.pem).expect("a file");
        std::fs::write(folder.path().join("another-ca.pem"), &unknown.pem).expect("a file");
        let state = Arc::new(Guard {
            secret: Mutex::new(CLIENT_SECRET.to_owned()),
            life: life.as_secs(),
            closed: false.into(),
            counts: Counts::default(),
        });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("its address");
        let tls = Tls { listener, acceptor: trusted.acceptor() };
        let app = Router::new().route("/oauth2/token", post(token)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(tls, app).await });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let broker = Tansu::behind(address, free_port());
        let signer = if front == Authority::Trusted { &trusted } else { &unknown };
        let tls = Tls { listener, acceptor: signer.acceptor() };
        tokio::spawn(front::serve(tls, broker.address(), Arc::clone(&state)));
        Guarded { broker, address, endpoint, folder, state }
    }

    /// A file with the certificate of an authority.
    pub fn certificate(&self, of: Authority) -> PathBuf {
        self.folder.path().join(if of == Authority::Trusted { "ca.pem" } else { "another-ca.pem" })
    }

    fn token_url(&self) -> String {
        format!("https://localhost:{}/oauth2/token", self.endpoint.port())
    }

    /// A listener that logs in with the client's secret, and trusts the trusted.
    pub fn listening(&self, store: &std::path::Path, api_base: &str) -> Listening {
        Listening::to(&format!("localhost:{}", self.address.port()), store, api_base)
            .set("KAFKA_CLIENT_ID", CLIENT_ID)
            .set("KAFKA_CLIENT_SECRET", CLIENT_SECRET)
            .set("KAFKA_TOKEN_URL", self.token_url())
            .set("KAFKA_CA_LOCATION", self.certificate(Authority::Trusted).display().to_string())
    }

    /// Sends messages to a topic, logged in as anybody must be.
    pub async fn send(&self, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
        let ca = self.certificate(Authority::Trusted).display().to_string();
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", format!("localhost:{}", self.address.port()))
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanisms", "OAUTHBEARER")
            .set("sasl.oauthbearer.method", "oidc")
            .set("sasl.oauthbearer.client.id", CLIENT_ID)
            .set("sasl.oauthbearer.client.secret", CLIENT_SECRET)
            .set("sasl.oauthbearer.token.endpoint.url", self.token_url())
            .set("sasl.oauthbearer.scope", SCOPE)
            .set("ssl.ca.location", &ca)
            .set("https.ca.location", &ca);
        crate::tansu::send(client, topic, bodies).await;
    }

    /// From now on this is the client's secret.
    pub fn change_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state.secret.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the endpoint answers 503 from now on.
    pub fn close_endpoint(&self, closed: bool) {
        self.state.closed.store(closed, Ordering::SeqCst);
    }

    /// How many tokens were given, and how many requests refused.
    pub fn tokens(&self) -> (u64, u64) {
        (self.state.counts.tokens.load(Ordering::SeqCst), self.state.counts.refused.load(Ordering::SeqCst))
    }

    /// How many sessions with the broker began, how often one was prolonged, and how many ended for want of a new token.
    pub fn sessions(&self) -> (u64, u64, u64) {
        let counts = &self.state.counts;
        let [sessions, renewals, expired] =
            [&counts.sessions, &counts.renewals, &counts.expired].map(|count| count.load(Ordering::SeqCst));
        (sessions, renewals, expired)
    }
}

#[derive(Deserialize)]
struct Asked {
    grant_type: String,
    scope: String,
}

async fn token(State(guard): State<Arc<Guard>>, headers: HeaderMap, Form(asked): Form<Asked>) -> Response {
    if guard.closed.load(Ordering::SeqCst) {
        guard.counts.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let expected = {
        let secret = guard.secret.lock().unwrap_or_else(PoisonError::into_inner);
        format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT_ID}:{secret}")))
    };
    let basic = headers.get("authorization").and_then(|value| value.to_str().ok());
    let refused = if basic != Some(&expected) {
        Some((StatusCode::UNAUTHORIZED, "invalid_client"))
    } else if asked.grant_type != "client_credentials" {
        Some((StatusCode::BAD_REQUEST, "unsupported_grant_type"))
    } else if asked.scope != SCOPE {
        Some((StatusCode::BAD_REQUEST, "invalid_scope"))
    } else {
        None
    };
    if let Some((status, error)) = refused {
        guard.counts.refused.fetch_add(1, Ordering::SeqCst);
        return (status, Json(json!({"error": error}))).into_response();
    }
    guard.counts.tokens.fetch_add(1, Ordering::SeqCst);
    let now = Timestamp::now().as_second();
    let life = i64::try_from(guard.life).unwrap_or(i64::MAX);
    let claims = Claims { sub: CLIENT_ID.to_owned(), iat: now, exp: now.saturating_add(life), scope: asked.scope };
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!("{}.{}.", part(json!({"alg": "none"})), part(json!(claims)));
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": guard.life})).into_response()
}

impl Guard {
    /// How long a token is good for yet.
    fn accepts(&self, token: &str) -> Option<Duration> {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        let left = claims.exp.checked_sub(Timestamp::now().as_second()).and_then(|left| u64::try_from(left).ok())?;
        (claims.sub == CLIENT_ID && claims.scope == SCOPE && left > 0).then(|| Duration::from_secs(left))
    }
}

/// An authority that signs certificates.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// What shows a certificate for this machine.
    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "a server");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate)];
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("a certificate and its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A port with TLS.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            // A client that does not trust the certificate breaks off here.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
