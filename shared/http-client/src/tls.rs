//! One TLS configuration for all clients. The system's authorities are read once, beside what else a process begins with:
//! that takes longer than all the rest of a Lambda function's start.

use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;
use shared::{Context, Result};

/// HTTP versions that a client offers (ALPN).
const VERSIONS: [&[u8]; 2] = [b"h2", b"http/1.1"];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// The configuration. All share the authorities, which the first call begins to read.
///
/// # Errors
/// Permanent, when the cryptographic provider supports no version of TLS.
pub(crate) fn config() -> Result<ClientConfig> {
    static SYSTEM: LazyLock<Arc<System>> = LazyLock::new(|| {
        let system = Arc::new(System::default());
        let reader = Arc::clone(&system);
        // A handshake waits for it, or does it where there is no thread to be had.
        let _ = std::thread::Builder::new().name("authorities".to_owned()).spawn(move || reader.verifier().map(drop));
        system
    });
    let versions = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
    let mut config = versions
        .permanent("tls")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&SYSTEM) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = VERSIONS.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// The system's verifier, made when it is first needed.
#[derive(Debug, Default)]
struct System(OnceLock<std::result::Result<Verifier, Error>>);

impl System {
    fn verifier(&self) -> std::result::Result<&Verifier, Error> {
        self.0.get_or_init(|| Verifier::new(Arc::clone(&PROVIDER))).as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for System {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorities_are_read_when_a_certificate_comes() {
        let system = System::default();
        assert!(!system.supported_verify_schemes().is_empty());
        assert!(system.0.get().is_none());
        let name = ServerName::try_from("example.org").expect("a name");
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        system.verify_server_cert(&garbage, &[], &name, &[], UnixTime::now()).expect_err("no certificate");
        assert!(system.0.get().is_some());
    }

    #[test]
    fn clients_offer_both_versions_of_http() {
        assert_eq!(config().expect("a configuration").alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}
