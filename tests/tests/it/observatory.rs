//! The commands of docs/observatory.md, run against a broker with GCN's log-in, an SMTP server and a web server in place of
//! ntfy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use jiff::Timestamp;
use serde_json::Value;
use tests::kafka::{Gcn, IGWN};
use tests::listener::eventually;
use tests::login::{Login, Trust};
use tests::program::{binary, workspace};
use tests::server::{Process, TestServer, free_port, unique};
use tests::smtp::{PASSWORD, Smtp, USER};

/// The page's blocks of a language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let begin = format!("\n```{language}\n");
    page.split(&begin).skip(1).map(|part| part.split_once("\n```").expect("the end of a block").0.to_owned()).collect()
}

/// Replaces a text that must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "docs/observatory.md: expected `{from}` in:\n{text}");
    text.replace(from, to)
}

/// Accepts what would go to ntfy.
async fn ntfy() -> (String, Arc<Mutex<Vec<Value>>>) {
    let received: Arc<Mutex<Vec<Value>>> = Arc::default();
    let keep = |State(kept): State<Arc<Mutex<Vec<Value>>>>, body: String| async move {
        kept.lock().expect("a lock").push(serde_json::from_str(&body).expect("JSON"));
    };
    let app = Router::new().route("/", post(keep)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can be run");
}

/// A shell in the folder, with `gwtm` and what opens a browser on its path.
fn shell(folder: &Path, programs: &Path, commands: &str) -> Command {
    let gwtm = binary("gwtm");
    let path = format!("{}:{}:/usr/bin:/bin", programs.display(), gwtm.parent().expect("a folder").display());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", commands]).current_dir(folder).env_clear().env("PATH", path);
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_page_notify_and_make_a_page_without_api_and_token() {
    let page = fs::read_to_string(workspace().join("docs/observatory.md")).expect("the page");
    let (login, smtp) = (Login::start(Gcn::shared().await, Duration::from_secs(3600)).await, Smtp::shared());
    let (url, received) = ntfy().await;
    let folder = tempfile::tempdir().expect("a folder");
    let programs = tempfile::tempdir().expect("a folder");
    // A browser needs a page.
    script(&programs.path().join("xdg-open"), "grep -q '<svg' \"$1\" && echo \"opened $1\"");

    // The files, with the addresses and secrets of the test's servers.
    let [build, settings, try_it, listen, serve, healthy] = &blocks(&page, "sh")[..] else {
        panic!("six blocks of commands")
    };
    let [rules] = &blocks(&page, "toml")[..] else { panic!("a block of rules") };
    let to = format!("{}@example.org", unique("observer"));
    let mut rules = replaced(rules, "https://ntfy.sh/", &url);
    rules =
        replaced(&rules, "server = \"smtp.example.org\"", &format!("server = \"127.0.0.1\"\nport = {}", smtp.starttls));
    rules = replaced(&rules, "user = \"alerts@example.org\"", &format!("user = \"{USER}\""));
    rules = replaced(&rules, "the-password", PASSWORD);
    rules = replaced(&rules, "observer@example.org", &to);
    fs::write(folder.path().join("notify.toml"), rules).expect("written");
    let secrets = login.settings();
    let mut env = replaced(settings, "the-id", &secrets[1].1);
    env = replaced(&env, "the-secret", &secrets[2].1);
    assert!(!env.contains("API_") && !try_it.contains("API_"), "neither API nor token: {env}");
    // Everything else that tests need: the broker, its authorities, and no network.
    let health = free_port();
    let authorities = fs::read_to_string(login.authorities(Trust::Both)).expect("PEM")
        + &fs::read_to_string(smtp.authority()).expect("PEM");
    fs::write(folder.path().join("authorities.pem"), authorities).expect("written");
    for (name, value) in login.gcn.settings().into_iter().chain(secrets.clone()) {
        if !["KAFKA_CLIENT_ID", "KAFKA_CLIENT_SECRET"].contains(&name) {
            env = env
                .lines()
                .filter(|line| !line.starts_with(&format!("{name}=")))
                .map(|line| format!("{line}\n"))
                .collect();
            env += &format!("{name}={value}\n");
        }
    }
    env += &format!(
        "SSL_CERT_FILE=authorities.pem\nHEALTH_ADDR=127.0.0.1:{health}\nFERMI_TLE_URL=none\nFERMI_FT2_URL=none\n\
         GRACEDB_URL=http://127.0.0.1:9/\nFLAT_MAX_ORDER=5\n"
    );
    fs::write(folder.path().join("gwtm.env"), env).expect("written");

    let run = |commands: &str| {
        let output = shell(folder.path(), programs.path(), commands).output().expect("bash runs");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{commands}\n{stdout}{stderr}");
        stdout
    };
    let said = tokio::task::block_in_place(|| run(try_it));
    for part in ["nothing is posted (API_BASE)", "GCN gives a token for the client", "opened gwtm-data/test/MS090101a"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("NOT SENT") && said.contains("phone") && said.contains(&to), "{said}");
    assert_eq!((smtp.mails(&to).len(), received.lock().expect("a lock").len()), (1, 1), "the tests; no mock");

    // The listener, and a significant event of now.
    let listener = shell(folder.path(), programs.path(), &format!("set -a; . ./gwtm.env; set +a\nexec {listen}"));
    let mut listener = Process::start("listener", folder.path(), listener);
    let now = Timestamp::now();
    let id = format!("S{}a", now.strftime("%y%m%d"));
    let simulate = format!("gwtm simulate --superevent-id {id} --type initial --time {now} --time-created {now}");
    let notice = tokio::task::block_in_place(|| run(&simulate));
    login.send(IGWN, [Some(notice.into_bytes())]).await;
    eventually("a mail", async || smtp.mails(&to).len() == 2).await;
    eventually("a message", async || received.lock().expect("a lock").len() == 2).await;
    let message = received.lock().expect("a lock")[1].clone();
    assert_eq!(message["topic"], "a-name-that-nobody-guesses");
    assert!(
        message["title"].as_str().is_some_and(|title| title.starts_with(&format!("GCN/LVC_INITIAL {id}: "))),
        "{message}"
    );
    assert!(message["message"].as_str().is_some_and(|text| text.starts_with(&format!("{id}-Initial · "))), "{message}");
    let mail = smtp.mails(&to).remove(1);
    assert_eq!((mail.fields("TRIGGER_NUM"), mail.fields("NOTICE_TYPE")), (vec![&*id], vec!["LVC Initial Skymap"]));
    assert!(mail.part("image/png").1.len() > 10_000);
    let alert_page = folder.path().join(format!("gwtm-data/fit/{id}-Initial.html"));
    assert!(fs::read_to_string(&alert_page).expect("a page").contains("<svg"));
    let healthy = format!("set -a; . ./gwtm.env; set +a\n{healthy}");
    tokio::task::block_in_place(|| run(&healthy));
    assert!(listener.runs() && listener.stop().success());
    let asked = shell(folder.path(), programs.path(), &healthy).output().expect("bash runs");
    assert!(!asked.status.success() && !asked.stderr.is_empty(), "without a listener it fails and says why");
    let log = fs::read_to_string(folder.path().join("listener.log")).expect("a log");
    assert!(log.contains("nothing will be posted: API_BASE is not set"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(&secrets[2].1), "{log}");

    // The web server that other machines ask.
    let port = free_port();
    let server = shell(folder.path(), programs.path(), &format!("exec {}", replaced(serve, "8000", &port.to_string())));
    let mut server = Process::start("pages", folder.path(), server);
    server.listens(port);
    let answer = tests::server::ask(tests::server::local(port), &format!("GET /fit/{id}-Initial.html"), &[], "");
    assert!(answer.status == 200 && answer.body.contains("<svg"), "{}", answer.status);
    server.kill();

    // What is built, and how: the files and features are there.
    for part in ["tests/setup build", "--package cli --features kafka", "target/release/gwtm"] {
        assert!(build.contains(part), "{part}: {build}");
    }
}
