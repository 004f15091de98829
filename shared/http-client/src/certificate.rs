//! Certificates: the authorities to trust, and advice for a server's certificate that is rejected.

use std::fs;
use std::path::Path;

use reqwest::Certificate;
use shared::{Context, Error, Result};

/// Where systems keep the authorities that they trust, in the order in which librdkafka looks (`rdkafka_ssl.c`).
pub(crate) const SYSTEM_AUTHORITIES: [&str; 5] = [
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
];

/// The certificates in a PEM file, or in the files of a folder.
pub(crate) fn read(path: &Path) -> Result<Vec<Certificate>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).permanent("folder")?;
        files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    }
    let mut found = Vec::new();
    for file in files {
        let bytes = fs::read(&file).permanent("file")?;
        // A folder holds other files too.
        found.extend(Certificate::from_pem_bundle(&bytes).unwrap_or_default());
    }
    if found.is_empty() {
        return Err(Error::permanent("expected certificates in PEM, found none"));
    }
    Ok(found)
}

/// Advice for an error about a rejected server certificate; `None` for other errors. Retrying does not help.
pub fn certificate_advice(error: &str) -> Option<&'static str> {
    // rustls names the reason; librdkafka (OpenSSL) and libcurl, which follow, have settings of their own.
    const ADVICE: [(&str, &str); 10] = [
        (
            "CaUsedAsEndEntity",
            "the server uses a CA certificate (CA:TRUE) as its own: give it one with CA:FALSE, and put the CA's \
            certificate in SSL_CERT_FILE",
        ),
        (
            "UnknownIssuer",
            "the certificate is not signed by a trusted CA: set SSL_CERT_FILE, or KAFKA_CA_LOCATION for GCN's log-in, to a \
             file with the CA's certificate",
        ),
        ("NotValidForName", NAMES),
        ("Expired", EXPIRED),
        ("NotValidYet", "the certificate is not valid yet, or this machine's clock is wrong"),
        (
            "No CA certificates were loaded",
            "this machine has no authorities to trust: install its certificates (Debian's ca-certificates), or name a file \
             with some in SSL_CERT_FILE",
        ),
        ("SSL: no alternative certificate subject name", NAMES),
        ("certificate has expired", EXPIRED),
        (
            "SSL certificate problem",
            "no authority that is trusted has signed the certificate: name a file with the authority's in KAFKA_CA_LOCATION",
        ),
        (
            "certificate verify failed",
            "the broker's certificate is of an authority that is not trusted, for other names than the address has, or \
             expired: name a file with the authority's in KAFKA_CA_LOCATION, or mend the address or the certificate",
        ),
    ];
    let known = |reason: &str| ADVICE.iter().find(|(name, _)| reason.contains(name)).map(|(_, advice)| *advice);
    match error.split_once("invalid peer certificate") {
        Some((_, reason)) => {
            // Newer versions of rustls spell the reason in words.
            let reason = reason.replace("not valid for name", "NotValidForName").replace("expired", "Expired");
            Some(known(&reason).unwrap_or("the server's certificate cannot be used"))
        }
        None => known(error),
    }
}

/// The advice about a certificate's names.
const NAMES: &str = "the certificate is for other names than the address has";
/// The advice about a certificate's time.
const EXPIRED: &str = "the certificate has expired, or this machine's clock is wrong";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_certificates_come_with_advice() {
        for (error, says) in [
            ("connect: invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "CA:FALSE"),
            (
                "invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b",
                "names",
            ),
            ("invalid peer certificate: certificate expired: verification time 1", "clock"),
            ("invalid peer certificate: BadSignature", "cannot be used"),
            ("unexpected error: No CA certificates were loaded from the system", "ca-certificates"),
            ("SSL certificate problem: self-signed certificate (-1)", "KAFKA_CA_LOCATION"),
            ("SSL certificate problem: certificate has expired (-1)", "clock"),
            ("SSL: no alternative certificate subject name matches target host name '127.0.0.1' (-1)", "names"),
            ("error:0A000086:SSL routines::certificate verify failed: broker certificate could …", "KAFKA_CA_LOCATION"),
        ] {
            assert!(certificate_advice(error).is_some_and(|advice| advice.contains(says)), "{error}");
        }
        assert_eq!(certificate_advice("connection refused"), None);
    }
}
