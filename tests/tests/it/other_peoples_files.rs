//! Files of other tools: names of files, JSON with extensions, gzip with trailing bytes, special files among objects,
//! track searches that must not be posted.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tests::kafka::{Gcn, IGWN};
use tests::listener::{Listening, eventually};
use tests::program::{Gwtm, files, http_get, parsed_sample, sample};
use tests::server::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// An alert without a map, by type and minute of creation.
fn alert(kind: &str, minute: u32) -> Value {
    let mut notice = parsed_sample("S090101a-4-initial.json");
    notice["alert_type"] = kind.into();
    notice["time_created"] = format!("2009-01-01T00:{minute:02}:00Z").into();
    notice["event"]["skymap"] = Value::Null;
    notice
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

/// The minute of creation of every archived alert, by name.
fn minutes(store: &Path) -> Vec<(String, String)> {
    let archived = files(store).into_iter().filter_map(|(name, bytes)| {
        let name = name.strip_prefix("fit/")?.strip_suffix("_alert.json")?.to_owned();
        let notice: Value =
            serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).expect("JSON");
        Some((name, notice["time_created"].as_str().expect("a time")[14..16].to_owned()))
    });
    let mut archived: Vec<_> = archived.collect();
    archived.sort();
    archived
}

fn run(folder: &Path, arguments: &[PathBuf], input: &[u8]) -> Vec<(String, String)> {
    let store = folder.join("store");
    let called = Gwtm::run(&store, arguments).call_with(input);
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    minutes(&store)
}

fn named(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(name, minute)| ((*name).to_owned(), (*minute).to_owned())).collect()
}

#[test]
fn numbers_alerts_by_time_regardless_of_file_names() {
    let two = named(&[("S090101a-Preliminary", "10"), ("S090101a-Preliminary1", "20")]);
    let (early, late) = (alert("PRELIMINARY", 10), alert("PRELIMINARY", 20));

    // GraceDB's names: `-` sorts before `1`, so the later one comes first.
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).expect("a folder");
    fs::write(archive.join("S090101a-Preliminary1_alert.json"), early.to_string()).expect("a file");
    fs::write(archive.join("S090101a-Preliminary_alert.json"), late.to_string()).expect("a file");
    assert_eq!(run(folder.path(), std::slice::from_ref(&archive), b""), two);

    // Several arguments, the later one first.
    let again = tempfile::tempdir().expect("a folder");
    let [one, other] = ["a.json", "b.json"].map(|name| again.path().join(name));
    fs::write(&one, late.to_string()).expect("a file");
    fs::write(&other, early.to_string()).expect("a file");
    assert_eq!(run(again.path(), &[one, other], b""), two);

    // Several documents on standard input: concatenated, and one per line.
    for input in [format!("{late:#}{early:#}"), format!("{late}\n{early}\n")] {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(run(folder.path(), &["-".into()], input.as_bytes()), two);
    }

    // Twelve updates, numbered without leading zeros.
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).expect("a folder");
    for i in 1..=12 {
        fs::write(archive.join(format!("S090101a-{i}-Update.json")), alert("UPDATE", i).to_string()).expect("a file");
    }
    let found = run(folder.path(), &[archive], b"");
    for (name, minute) in &found {
        let n: u32 = name.strip_prefix("S090101a-Update").expect("an update").parse().unwrap_or(0);
        assert_eq!(minute.parse::<u32>(), Ok(n + 1), "{found:?}");
    }
    assert_eq!(found.len(), 12);
}

#[test]
fn reads_documents_with_byte_order_mark_in_gzip_and_in_lines() {
    let marked = ["\u{feff}", &alert("INITIAL", 30).to_string()].concat();
    let lines = format!("{}\n\n{}\n", alert("PRELIMINARY", 20), alert("PRELIMINARY", 10));
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).expect("a folder");
    fs::write(archive.join("marked.json"), &marked).expect("a file");
    // With zero padding.
    fs::write(archive.join("lines.jsonl.gz"), [gzip(lines.as_bytes()), vec![0; 512]].concat()).expect("a file");
    let three = named(&[("S090101a-Initial", "30"), ("S090101a-Preliminary", "10"), ("S090101a-Preliminary1", "20")]);
    assert_eq!(run(folder.path(), &[archive], b""), three);

    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let utf_16: Vec<u8> = alert("INITIAL", 1).to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken = format!("{{\"superevent_id\": \"S0901\n{}\n", alert("INITIAL", 30));
    for (input, says) in [(&utf_16[..], "UTF-16"), (b"PK\x03\x04", "zip"), (broken.as_bytes(), "standard input:1")] {
        let called = Gwtm::run(&store, ["-"]).call_with(input);
        assert_eq!(called.code, Some(1), "{says}");
        assert!(called.stdout.contains(says), "{says}: {}", called.stdout);
    }
    // A broken line does not affect the others.
    assert_eq!(minutes(&store), named(&[("S090101a-Initial", "30")]));
}

#[test]
fn non_finite_numbers_are_absent_with_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut notice = parsed_sample("S090101a-4-initial.json");
    notice["event"]["far"] = json!("NUMBER");
    let text = notice.to_string();
    for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let text = text.replace("\"NUMBER\"", number);
        let called = Gwtm::run(&folder.path().join(number), ["-"]).call_with(text.as_bytes());
        assert_eq!(called.code, Some(0), "{number}: {}{}", called.stdout, called.stderr);
        assert!(called.stderr.contains("event.far"), "{number}: {}", called.stderr);
        let found = files(&folder.path().join(number));
        assert_eq!(found["fit/S090101a-Initial_alert.json"], text.as_bytes(), "exactly as received");
        assert!(found.contains_key("fit/S090101a-Initial.fits.gz"), "{number}");
    }
}

#[test]
fn reads_a_gzipped_map_with_trailing_bytes() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let mut notice = parsed_sample("S090101a-4-initial.json");
    let map = STANDARD.decode(notice["event"]["skymap"].as_str().expect("a map")).expect("base64");
    for tail in [vec![0; 512], b"tail".to_vec()] {
        notice["event"]["skymap"] = STANDARD.encode([gzip(&map), tail].concat()).into();
        let folder = tempfile::tempdir().expect("a folder");
        let called = Gwtm::run(folder.path(), ["-"]).call_with(notice.to_string().as_bytes());
        assert_eq!(called.code, Some(0), "{}", called.stdout);
        assert!(files(folder.path()).contains_key("fit/S090101a-Initial.fits.gz"));
    }
}

#[test]
fn does_not_post_tests_injections_plans_and_retractions() {
    for (field, value, says) in [
        ("alert_tense", "test", "test"),
        ("alert_tense", "injection", "injection"),
        ("alert_tense", "planned", "planned"),
        ("alert_type", "retraction", "retracts"),
    ] {
        let mut search = parsed_sample("S090101a-6-icecube-nested.json");
        search[field] = value.into();
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let command = json!(["sh", "-c", format!("cat \"$1\" >> {}", told.display()), "sh"]);
        // The API is not called: nothing listens there.
        let run = |retractions: bool| {
            let target = format!("[{{ kind = \"command\", command = {command} }}]");
            let rule = format!("[[rule]]\nname = \"r\"\nretractions = {retractions}\ntarget = {target}");
            let called = Gwtm::run(&folder.path().join("data"), ["--json", "-"])
                .set("API_BASE", "http://127.0.0.1:9/api/v1/")
                .set("API_TOKEN", "token")
                .set("NOTIFY_CONFIG", rule)
                .call_with(search.to_string().as_bytes());
            assert_eq!(called.code, Some(0), "{field} {value}: {}", called.stdout);
            called.json()[0].clone()
        };
        assert!(run(false).get("notifications").is_none() && !told.exists());
        let report = run(true);
        // A retraction is notified once.
        let is_retraction = field == "alert_type";
        let statuses = |report: &Value| report["notifications"][0]["status"].clone();
        assert_eq!(statuses(&report) == "sent", is_retraction, "{report}");
        assert_eq!(statuses(&run(true)) == "already_sent", is_retraction, "{field} {value}");
        let said = fs::read_to_string(&told).unwrap_or_default();
        assert_eq!(said.matches("an administrator must remove it there").count(), usize::from(is_retraction), "{said}");
        let post = &report["icecube"]["posts"][0];
        assert_eq!(post["status"], "not_posted", "{field} {value}: {post}");
        assert!(post["reason"].as_str().is_some_and(|reason| reason.contains(says)), "{post}");
        let recorded =
            files(&folder.path().join("data")).into_keys().any(|name| name.ends_with("post_icecube_notice.json"));
        assert!(recorded, "{field} {value}");
    }
}

#[test]
fn special_files_are_not_objects() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fs::create_dir_all(store.join("fit")).expect("a folder");
    fs::write(store.join("fit/a.json"), b"{}").expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, store.join("fit/pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(store.join("fit/socket")).expect("a socket");
    let place = store.display().to_string();
    let call = |arguments: &[&str]| {
        let called = Gwtm::new(arguments).call();
        assert_eq!(called.code, Some(0), "{arguments:?}: {}{}", called.stdout, called.stderr);
        called.stdout
    };
    for command in ["ls", "verify"] {
        let said = call(&["store", "--store", &place, command, "fit/"]);
        assert!(said.contains("1 objects") && said.contains("2 FIFOs, sockets or devices left out"), "{said}");
        assert!(!said.contains("pipe"), "{said}");
    }
    let dest = folder.path().join("dest").display().to_string();
    let said = call(&["migrate", "--source", &place, "--dest", &dest, "--container", "fit"]);
    assert!(said.contains("1 copied") && said.contains("2 FIFOs, sockets or devices left out"), "{said}");
    // Reading one, or checking its existence, fails instead of blocking.
    std::os::unix::fs::symlink("/dev/zero", store.join("fit/device")).expect("a link");
    for name in ["fit/pipe", "fit/socket", "fit/device"] {
        let called = Gwtm::new(["store", "--store", &place, "get", name]).call();
        assert!(called.code == Some(1) && called.stderr.contains("found none"), "{name}: {}", called.stderr);
        let called = Gwtm::new(["failed", "--store", &place, "show", name]).call();
        assert_ne!(called.code, Some(0), "{name}");
    }
}

#[test]
fn migrate_compares_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let [source, dest] = ["source", "dest"].map(|name| folder.path().join(name));
    fs::create_dir_all(source.join("fit")).expect("a folder");
    let migrate = |more: &[&str]| {
        let places = [source.display().to_string(), dest.display().to_string()];
        let arguments = ["migrate", "--source", &places[0], "--dest", &places[1], "--container", "fit"];
        let called = Gwtm::new([&arguments[..], more].concat()).call();
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        called.stdout
    };
    fs::write(source.join("fit/a.json"), b"one").expect("a file");
    assert!(migrate(&[]).contains("1 copied"));
    assert!(migrate(&[]).contains("1 already there"));
    // A restored backup: same size, older than the copy.
    let file = fs::File::create(source.join("fit/a.json")).expect("a file");
    (&file).write_all(b"two").expect("written");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
        .expect("a time");
    assert!(migrate(&["--dry-run"]).contains("1 would be copied"));
    assert!(migrate(&[]).contains("1 copied"));
    assert_eq!(fs::read(dest.join("fit/a.json")).expect("the copy"), b"two");
    assert!(migrate(&["--verify"]).contains("1 already there"));
    // The same restored over the copy: `verify` reads both.
    let copy = fs::File::create(dest.join("fit/a.json")).expect("a file");
    (&copy).write_all(b"one").expect("written");
    copy.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(900_000_000)).expect("a time");
    assert!(migrate(&["--verify"]).contains("1 copied"));
    assert_eq!(fs::read(dest.join("fit/a.json")).expect("the copy"), b"two");
}

#[test]
fn disabled_sources_are_not_requested() {
    let folder = tempfile::tempdir().expect("a folder");
    let called = Gwtm::run(folder.path(), [Path::new("--json"), &sample("S090101a-4-initial.json")])
        .set("FERMI_TLE_URL", "none")
        .set("FERMI_FT2_URL", "none")
        .set("SWIFT_POINTING_URL", "none")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let products = called.json()[0]["alerts"][0]["products"].clone();
    for (product, says) in [
        ("fermi_gbm", "FERMI_TLE_URL is `none`"),
        ("fermi_lat", "FERMI_FT2_URL is `none`"),
        ("swift_bat", "no Swift pointing is configured"),
    ] {
        let found = products.as_array().expect("products").iter().find(|found| found["product"] == product);
        let found = found.expect(product);
        assert!(found["status"] == "missing" && found["reason"].as_str().is_some_and(|r| r.contains(says)), "{found}");
    }
}

/// Starts a loopback server with a certificate that responds to every request with 404; returns its port.
async fn serve_tls(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> u16 {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

/// Parameters of a certificate for this machine.
fn certificate(is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.distinguished_name.push(DnType::CommonName, if is_ca { "an authority" } else { "a server" });
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn ssl_cert_file_trusts_a_private_authority_and_errors_mention_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ca_key, key, own_key] = std::array::from_fn(|_| KeyPair::generate().expect("a key"));
    let ca = certificate(true).self_signed(&ca_key).expect("an authority");
    let issuer = Issuer::new(certificate(true), ca_key);
    let signed = certificate(false).signed_by(&key, &issuer).expect("a certificate");
    let mut another = certificate(true);
    another.distinguished_name.push(DnType::CommonName, "another authority");
    let own = another.self_signed(&own_key).expect("a certificate");
    let write = |name: &str, pem: String| {
        let path = folder.path().join(name);
        fs::write(&path, pem).expect("a file");
        path
    };
    let (ca_file, own_file) = (write("ca.pem", ca.pem()), write("own.pem", own.pem()));
    let private = serve_tls(vec![signed.der().clone()], &key).await;
    let self_signed = serve_tls(vec![own.der().clone()], &own_key).await;
    let place = folder.path().to_owned();
    let look = async |host: &str, port: u16, trusted: &Path, code: i32| {
        let gwtm = Gwtm::new(["check", "--json"])
            .set("STORAGE_FOLDER", place.join("store"))
            .set("FERMI_TLE_URL", "none")
            .set("SSL_CERT_FILE", trusted)
            .set("API_BASE", format!("https://{host}:{port}/api/v1/"))
            .set("API_TOKEN", "token");
        let called = tokio::task::spawn_blocking(move || gwtm.call()).await.expect("gwtm ends");
        assert_eq!(called.code, Some(code), "{}{}", called.stdout, called.stderr);
        let looks = called.json()[0]["looks"].as_array().expect("looks").clone();
        let api = looks.iter().find(|look| look["what"] == "API").expect("a look");
        assert_eq!(api["verdict"], "failed", "{api}");
        assert_eq!(api["permanent"] == true, code == 2, "{api}");
        let text = api["text"].as_str().expect("a text").to_owned();
        assert_eq!(called.stderr.contains(&text), code == 2, "{}", called.stderr);
        assert_eq!(text.contains("a settings error: no retry will help"), code == 2, "{text}");
        text
    };
    let refused = look("localhost", private, &own_file, 2).await;
    assert!(refused.contains("UnknownIssuer") && refused.contains("SSL_CERT_FILE"), "{refused}");
    let trusted = look("localhost", private, &ca_file, 1).await;
    assert!(trusted.contains("404") && !trusted.contains("certificate"), "{trusted}");
    let authority = look("localhost", self_signed, &own_file, 2).await;
    assert!(authority.contains("CaUsedAsEndEntity") && authority.contains("CA:FALSE"), "{authority}");
    let another_host = look("127.0.0.1", private, &ca_file, 2).await;
    assert!(another_host.contains("other names than the address"), "{another_host}");
    for (time, says) in [(2001, "has expired"), (2999, "not valid yet")] {
        let mut params = certificate(false);
        (params.not_before, params.not_after) = (date_time_ymd(time, 1, 1), date_time_ymd(time + 1, 1, 1));
        let port = serve_tls(vec![params.signed_by(&key, &issuer).expect("a certificate").der().clone()], &key).await;
        let said = look("localhost", port, &ca_file, 2).await;
        assert!(said.contains(says), "{said}");
    }
    // A refused connection is not explained by settings.
    let nobody = look("localhost", 9, &ca_file, 1).await;
    assert!(!nobody.contains("certificate"), "{nobody}");

    // A listener keeps retrying, and logs this once for both alerts and all retries.
    let broker = Gcn::shared().await;
    let early = |id: &str| {
        let mut early = parsed_sample("S090101a-1-earlywarning.json");
        early["superevent_id"] = id.into();
        Some(early.to_string().into_bytes())
    };
    broker.send(IGWN, ["S090101a", "S090101b"].map(early)).await;
    let port = free_port();
    let listening =
        Listening::to(&broker, &folder.path().join("listen"), &format!("https://localhost:{private}/api/v1/"))
            .set("SSL_CERT_FILE", own_file.display().to_string())
            .set("HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let mut listener = listening.start();
    let retries = || {
        let (_, metrics) = http_get(port, "/metrics")?;
        let line =
            metrics.lines().find(|line| line.starts_with("gwtm_notices_retried_total{") && line.contains(IGWN))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    eventually("six retries", async || retries().is_some_and(|retries| retries >= 6.0)).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    let said = listening.said();
    assert_eq!(said.matches("retrying notice").count(), 1, "{said}");
    assert!(said.contains("UnknownIssuer") && said.contains("SSL_CERT_FILE"), "{said}");
}
