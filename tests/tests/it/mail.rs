//! Notifications by mail, through a real SMTP server.

use std::fs;
use std::path::{Path, PathBuf};

use annotate::notify::classic::{COUNTERPART_FIELDS, LVC_FIELDS};
use serde_json::{Value, json};
use tests::kafka::{Gcn, IGWN};
use tests::listener::{Listening, eventually};
use tests::program::{Called, Gwtm, sample, workspace};
use tests::server::{TestServer, free_port, unique};
use tests::smtp::{Mail, PASSWORD, Smtp, USER};

/// A rule with a target of these keys.
fn rules(target: &str) -> String {
    format!(
        "[[rule]]\nname = \"all\"\nmax_age_hours = 1e9\n[[rule.target]]\nkind = \"email\"\nserver = \"127.0.0.1\"\n\
         from = \"Alerts <alerts@example.org>\"\n{target}\n"
    )
}

/// A target on the port that requires STARTTLS and a log-in.
fn starttls(server: &Smtp, to: &str, more: &str) -> String {
    rules(&format!("port = {}\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\nto = [{to}]\n{more}", server.starttls))
}

fn run(server: &Smtp, store: &Path, rules: &str, notice: &Path) -> Called {
    run_with(server, store, rules, notice, "")
}

fn run_with(server: &Smtp, store: &Path, rules: &str, notice: &Path, objects_url: &str) -> Called {
    let called = Gwtm::run(store, [Path::new("--json"), notice])
        .set("NOTIFY_CONFIG", rules)
        .set("SSL_CERT_FILE", server.authority())
        .set("FLAT_MAX_ORDER", "5")
        .set("OBJECTS_URL", objects_url)
        .call();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    assert!(!format!("{called:?}").contains(PASSWORD), "the password does not show: {called:?}");
    called
}

/// What was sent, in the report of a run.
fn notifications(called: &Called) -> Vec<Value> {
    called.json()[0]["alerts"][0]["annotated"]["notifications"].as_array().expect("notifications").clone()
}

fn address(name: &str) -> String {
    format!("{}@example.org", unique(name))
}

fn quoted(address: &str) -> String {
    format!("\"{address}\"")
}

/// The mail to a recipient, who has one.
fn only(server: &Smtp, recipient: &str) -> Mail {
    let mails = server.mails(recipient);
    assert_eq!(mails.len(), 1, "{recipient}: {mails:?}");
    mails[0].clone()
}

#[test]
fn sends_the_former_gcn_text_with_html_and_plot_over_starttls() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let to = [address("observer"), address("second")];
    let list = format!("\"{}\", \"The second <{}>\"", to[0], to[1]);
    let rules = starttls(&server, &list, "");
    let alert = sample("S090101a-4-initial.json");
    let sent = run_with(&server, folder.path(), &rules, &alert, "https://gw.example.org/data/");
    let sent = notifications(&sent);
    assert_eq!(sent.iter().map(|one| one["status"].clone()).collect::<Vec<_>>(), ["sent", "sent"], "{sent:?}");
    assert_eq!(sent[1]["target"], format!("email {}", to[1]));

    let mail = only(&server, &to[0]);
    assert_eq!((&mail.0["is_encrypted"], &mail.0["is_logged_in"]), (&true.into(), &true.into()));
    assert_eq!((&mail.0["from"], &mail.0["hello"]), (&"alerts@example.org".into(), &"example.org".into()));
    assert_eq!(mail.header("From"), "Alerts <alerts@example.org>");
    assert_eq!(mail.header("To"), to[0]);
    assert_eq!(mail.header("Subject"), "GCN/LVC_INITIAL S090101a: BNS 88 %, NSBH 11 %, Terrestrial 1 %");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(mail.headers("Date").len(), 1);
    let structure = json!(["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]);
    assert_eq!(mail.0["structure"], structure);

    // What a filter of GCN's mails reads.
    for (field, expected) in [
        ("TITLE", "GCN/LVC NOTICE"),
        ("NOTICE_DATE", "Thu 01 Jan 09 00:40:00 UT"),
        ("NOTICE_TYPE", "LVC Initial Skymap"),
        ("TRIGGER_NUM", "S090101a"),
        ("TRIGGER_DATE", "14832 TJD;     1 DOY;   2009/01/01 (yyyy/mm/dd)"),
        ("TRIGGER_TIME", "0.000000 SOD {00:00:00.000000} UT"),
        ("SEQUENCE_NUM", "1"),
        ("GROUP_TYPE", "1 = CBC"),
        ("TRIGGER_ID", "0x10"),
        ("SKYMAP_FITS_URL", "https://gw.example.org/data/fit/S090101a-Initial_moc.fits.gz"),
        ("PAGE_URL", "https://gw.example.org/data/fit/S090101a-Initial.html"),
    ] {
        assert_eq!(mail.fields(field), [expected], "{field}: {}", mail.0["fields"]);
    }
    assert!(mail.fields("COMMENTS").len() > 5, "{:?}", mail.fields("COMMENTS"));
    let (plain, _) = mail.part("text/plain");
    assert_eq!(plain["encoding"], "7bit", "filters read it as it is: {plain}");

    let html = mail.text("text/html");
    for part in [
        "<img src=\"cid:plot\"",
        "href=\"https://gw.example.org/data/fit/S090101a-Initial.html\"",
        "href=\"https://gw.example.org/data/fit/S090101a-Initial.png\"",
        "TRIGGER_NUM:      S090101a\n",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let (png, bytes) = mail.part("image/png");
    assert_eq!((&png["id"], &png["file"]), (&"<plot>".into(), &"S090101a-Initial.png".into()), "{png}");
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && (10_000..=200_000).contains(&bytes.len()), "{}", bytes.len());
    let stored = fs::read(folder.path().join("fit/S090101a-Initial.png")).expect("the plot");
    assert!(
        bytes == stored,
        "{} and {} bytes: a plot that fits is attached as it is stored",
        bytes.len(),
        stored.len()
    );

    // A repeat sends nothing, and the next alert joins the thread.
    let again = notifications(&run(&server, folder.path(), &rules, &alert));
    assert!(again.iter().all(|one| one["status"] == "already_sent"), "{again:?}");
    run(&server, folder.path(), &rules, &sample("S090101a-5-update-with-grb.json"));
    let mails = server.mails(&to[0]);
    assert_eq!(mails.len(), 3, "the update, and its coincidence");
    let ids: Vec<&str> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0].starts_with("<S090101a-Initial."), "{ids:?}");
    for mail in &mails {
        for header in ["References", "In-Reply-To"] {
            assert_eq!(mail.header(header), "<S090101a.thread@example.org>");
        }
    }
    assert_eq!(mails[1].fields("NOTICE_TYPE"), ["LVC Update Skymap"]);
    assert_eq!(mails[2].fields("TRIGGER_ID"), ["0x20000010"]);
    // Both recipients have the same mail; another rule has its own.
    assert_eq!(server.mails(&to[1])[0].header("Message-ID"), ids[0]);
    let other = tempfile::tempdir().expect("a folder");
    let (third, fourth) = (address("third"), address("fourth"));
    let named = |to: &str, name: &str| {
        starttls(&server, &quoted(to), "").replace("name = \"all\"", &format!("name = \"{name}\""))
    };
    run(&server, &other.path().join("a"), &named(&third, "all"), &alert);
    run(&server, &other.path().join("b"), &named(&fourth, "another"), &alert);
    assert_eq!(only(&server, &third).header("Message-ID"), ids[0], "it follows from alert and rule");
    assert_ne!(only(&server, &fourth).header("Message-ID"), ids[0]);
}

#[test]
fn sends_plain_text_alone_through_a_relay_and_over_tls() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let (relayed, encrypted) = (address("relayed"), address("encrypted"));
    let rules = format!(
        "{}{}",
        rules(&format!(
            "security = \"none\"\nport = {}\nto = [\"{relayed}\"]\nhtml = false\nsubject = \"{{{{name}}}} {{{{event.far}}}}\"\n\
             template = \"{{{{text}}}}\\n{{{{gcn_notice}}}}\"",
            server.plain
        )),
        rules(&format!(
            "security = \"tls\"\nport = {}\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\nto = [\"{encrypted}\"]\nhtml = false",
            server.tls
        ))
        .replace("name = \"all\"", "name = \"tls\"")
    );
    run(&server, folder.path(), &rules, &sample("S090103c-1-preliminary-burst.json"));
    let mail = only(&server, &relayed);
    assert_eq!((&mail.0["is_encrypted"], &mail.0["is_logged_in"]), (&false.into(), &false.into()));
    assert_eq!(mail.header("Subject"), "S090103c-Preliminary 1e-9");
    let text = mail.text("text/plain");
    assert!(text.starts_with("S090103c-Preliminary · ") && text.contains("\nGROUP_TYPE:       2 = Burst\n"), "{text}");
    let mail = only(&server, &encrypted);
    assert_eq!((&mail.0["is_encrypted"], &mail.0["is_logged_in"]), (&true.into(), &true.into()));
    assert_eq!(mail.0["structure"], json!(["text/plain"]));
    assert!(mail.fields("CENTRAL_FREQ").len() == 1 && mail.fields("PROB_BNS").is_empty(), "{}", mail.0["fields"]);
    // Without OBJECTS_URL the map is named as in the store.
    assert_eq!(mail.fields("SKYMAP_FITS_URL"), ["fit/S090103c-Preliminary_moc.fits.gz"]);
}

#[test]
fn reports_what_the_server_refuses_and_retries_what_it_defers() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let [fine, refused, later, lingering] = ["fine", "refused", "later", "linger"].map(address);
    let list = [&fine, &refused, &later, &lingering].map(|to| quoted(to)).join(", ");
    let alert = sample("S090103c-1-preliminary-burst.json");
    let rules = starttls(&server, &list, "html = false");
    let sent = notifications(&run(&server, folder.path(), &rules, &alert));
    let statuses: Vec<&Value> = sent.iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["sent", "failed", "sent", "sent"], "{sent:?}");
    let reason = sent[1]["reason"].as_str().expect("a reason");
    assert!(reason.contains("550") && reason.contains("no such mailbox") && reason.contains("127.0.0.1"), "{reason}");
    let attempts = [&fine, &refused, &later, &lingering].map(|to| server.attempts(to));
    assert_eq!(attempts, [1, 1, 2, 1], "5xx is permanent, 4xx is not");
    assert_eq!((only(&server, &later).0["to"][0].clone(), server.mails(&refused).len()), (later.as_str().into(), 0));
    only(&server, &lingering);
    // Only the refused one is tried again.
    let again = notifications(&run(&server, folder.path(), &rules, &alert));
    let statuses: Vec<&Value> = again.iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["already_sent", "failed", "already_sent", "already_sent"], "{again:?}");
    assert_eq!([&fine, &refused, &later, &lingering].map(|to| server.attempts(to)), [1, 2, 2, 1]);
}

#[test]
fn refused_log_in_missing_starttls_and_untrusted_certificate_are_named() {
    let server = Smtp::shared();
    let alert = sample("S090103c-1-preliminary-burst.json");
    let reason = |rules: &str, authority: &Path| {
        let folder = tempfile::tempdir().expect("a folder");
        let called = Gwtm::run(folder.path(), [Path::new("--json"), &alert])
            .set("NOTIFY_CONFIG", rules)
            .set("SSL_CERT_FILE", authority)
            .set("FLAT_MAX_ORDER", "5")
            .call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        // The server repeats the password.
        assert!(!format!("{called:?}").contains("hunter2"), "{called:?}");
        let sent = notifications(&called);
        assert_eq!(sent[0]["status"], "failed", "{sent:?}");
        sent[0]["reason"].as_str().expect("a reason").to_owned()
    };
    let to = quoted(&address("nobody"));
    let wrong = starttls(&server, &to, "").replace(PASSWORD, "hunter2");
    let found = reason(&wrong, &server.authority());
    assert!(found.contains("log-in") && found.contains("535") && found.contains("***"), "{found}");
    // A relay that offers no STARTTLS gets nothing.
    let plain = wrong.replace(&server.starttls.to_string(), &server.plain.to_string());
    let found = reason(&plain, &server.authority());
    assert!(found.contains("starttls") && found.contains("not supported"), "{found}");
    let other = tempfile::tempdir().expect("a folder");
    let stranger = other.path().join("ca.pem");
    fs::write(&stranger, tests::kafka::Ca::new("another authority").pem).expect("written");
    let found = reason(&wrong, &stranger);
    assert!(found.contains("UnknownIssuer") && found.contains("SSL_CERT_FILE"), "{found}");
    // Nobody listens there.
    let closed = wrong.replace(&server.starttls.to_string(), &free_port().to_string());
    assert!(reason(&closed, &server.authority()).contains("connection"), "a closed port");
}

#[test]
fn silent_server_is_given_up_and_the_alert_goes_on() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let silent = address("silent");
    let rules = starttls(&server, &quoted(&silent), "html = false");
    let called = run(&server, folder.path(), &rules, &sample("S090103c-1-preliminary-burst.json"));
    let report = &called.json()[0];
    let sent = notifications(&called);
    assert_eq!((&report["status"], &sent[0]["status"]), (&"done".into(), &"failed".into()), "{sent:?}");
    assert!(sent[0]["reason"].as_str().is_some_and(|reason| reason.contains("within")), "{sent:?}");
    assert!((1..=2).contains(&server.attempts(&silent)), "{}", server.attempts(&silent));
    assert!(server.mails(&silent).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_alert_goes_on_while_a_server_is_silent() {
    let (broker, server) = (Gcn::shared().await, Smtp::shared());
    let folder = tempfile::tempdir().expect("a folder");
    let (silent, observer) = (address("silent"), address("observer"));
    let of = |to: &str, alert_type: &str| {
        let rules = starttls(&server, &quoted(to), "html = false");
        let retractions = alert_type == "Retraction";
        let conditions =
            format!("name = \"{alert_type}\"\nalert_types = [\"{alert_type}\"]\nretractions = {retractions}");
        rules.replace("name = \"all\"", &conditions)
    };
    let listening = Listening::to(&broker, &folder.path().join("data"), "")
        .set("API_TOKEN", "")
        .set("NOTIFY_CONFIG", of(&silent, "Preliminary") + &of(&observer, "Retraction"))
        .set("SSL_CERT_FILE", server.authority().display().to_string());
    let listener = listening.start();
    let send = async |name: &str| broker.send(IGWN, [Some(fs::read(sample(name)).expect("a notice"))]).await;
    send("S090103c-1-preliminary-burst.json").await;
    eventually("a mail on its way to the silent server", async || server.attempts(&silent) > 0).await;
    send("S090102b-2-retraction.json").await;
    eventually("both done", async || listening.said().matches("notice done").count() == 2).await;
    assert!(listener.stop().success(), "{}", listening.said());
    // The retraction came second, and was done before the first mail was given up.
    let said = listening.said();
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("expected `{text}` in {said}"));
    assert!(place("notice done") < place("not told"), "{said}");
    only(&server, &observer);
    assert!(server.mails(&silent).is_empty());
}

/// A notice with other values in places.
fn altered(folder: &Path, notice: &str, changes: &[(&str, Value)]) -> PathBuf {
    let text = fs::read_to_string(sample(notice)).expect("a notice");
    let mut notice: Value = serde_json::from_str(&text).expect("JSON");
    for (pointer, value) in changes {
        *notice.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
    }
    let path = folder.join("altered.json");
    fs::write(&path, notice.to_string()).expect("written");
    path
}

#[test]
fn text_of_notices_adds_no_header_and_no_field() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let evil = "x\r\nBcc: victim@example.org\r\n\r\nTRIGGER_NUM: S999999z\nNOTICE_TYPE: forged\u{85}\u{2028}é";
    let to = address("careful");
    let rules = starttls(
        &server,
        &quoted(&to),
        "subject = \"{{event.pipeline}} {{event.search}} {{alert_type}}\"\nhtml = true",
    );
    let changes = [("/event/pipeline", evil.into()), ("/event/search", evil.into()), ("/urls/gracedb", evil.into())];
    let notice = altered(folder.path(), "S090103c-1-preliminary-burst.json", &changes);
    run(&server, &folder.path().join("store"), &rules, &notice);
    // An unknown type's name becomes part of the subject and of the id.
    let notice = altered(folder.path(), "S090103c-1-preliminary-burst.json", &[("/alert_type", evil.into())]);
    let called = Gwtm::run(&folder.path().join("store"), [&notice])
        .set("NOTIFY_CONFIG", &rules)
        .set("SSL_CERT_FILE", server.authority())
        .call();
    assert_eq!(called.code, Some(1), "an unknown type is kept: {}", called.stdout);
    let mails = server.mails(&to);
    assert_eq!(mails.len(), 2, "{}", called.stdout);
    for mail in &mails {
        assert!(mail.headers("Bcc").is_empty(), "{}", mail.0["headers"]);
        assert_eq!(mail.0["to"], json!([to]));
        let subject = mail.header("Subject");
        assert!(!subject.contains("\nBcc"), "{subject:?}");
        assert_eq!(mail.fields("TRIGGER_NUM"), ["S090103c"], "{}", mail.0["fields"]);
        assert_eq!(mail.fields("NOTICE_TYPE").len(), 1, "{}", mail.0["fields"]);
        assert!(!mail.fields("NOTICE_TYPE")[0].starts_with("forged"), "{}", mail.0["fields"]);
        let id = mail.header("Message-ID");
        assert!(id.ends_with("@example.org>") && !id.contains(char::is_whitespace), "{id:?}");
        let html = mail.text("text/html");
        assert!(!html.contains("href=\"x"), "{html}");
    }
    assert_eq!(mails[1].fields("COMMENTS").len(), 1, "{}", mails[1].0["fields"]);
}

#[test]
fn retracted_track_search_has_the_form_of_a_counterpart() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(sample("S090101a-6-icecube-nested.json")).expect("a notice");
    let mut notice: Value = serde_json::from_str(&text).expect("JSON");
    notice["alert_type"] = "retraction".into();
    let path = folder.path().join("retraction.json");
    fs::write(&path, notice.to_string()).expect("written");
    let to = address("neutrino");
    let rules = starttls(&server, &quoted(&to), "html = false");
    let called = Gwtm::run(&folder.path().join("store"), [&path])
        .set("NOTIFY_CONFIG", rules)
        .set("SSL_CERT_FILE", server.authority())
        .call();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let mail = only(&server, &to);
    assert_eq!(mail.header("Subject"), "GCN/LVC_COUNTERPART S090101a IceCube retraction");
    assert_eq!(mail.header("References"), "<S090101a.thread@example.org>");
    for (field, expected) in [
        ("TITLE", "GCN/LVC COUNTERPART NOTICE"),
        ("NOTICE_DATE", "Thu 01 Jan 09 00:35:00 UT"),
        ("NOTICE_TYPE", "IceCube Neutrino Track Search Retraction"),
        ("CNTRPART_RA", "150.0000d {+10h 00m 00.0s} (J2000)"),
        ("CNTRPART_DEC", "+20.0000d {+20d 00' 00.0\"} (J2000)"),
        ("EVENT_TRIG_NUM", "S090101a"),
        ("OBS_DATE", "14831 TJD;   366 DOY;   08/12/31"),
        ("OBS_TIME", "85900.00 SOD {23:51:40.00} UT"),
        ("OBS_DUR", "1000.0 [sec]"),
        ("TELESCOPE", "IceCube"),
    ] {
        assert_eq!(mail.fields(field), [expected], "{field}: {}", mail.0["fields"]);
    }
    assert_eq!(mail.fields("COMMENTS").len(), 6, "{:?}", mail.fields("COMMENTS"));
}

#[test]
fn test_mails_are_marked_and_differ() {
    let server = Smtp::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let to = address("tester");
    let rules = starttls(&server, &quoted(&to), "");
    let store = folder.path().join("data");
    run(&server, &store, &rules, &sample("S090103c-1-preliminary-burst.json"));
    for _ in 0..2 {
        let called = Gwtm::new(["notify", "--test", "S090103c-Preliminary"])
            .set("STORAGE_FOLDER", &store)
            .set("NOTIFY_CONFIG", &rules)
            .set("SSL_CERT_FILE", server.authority())
            .call();
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        assert!(called.stdout.contains(&format!("email {to}")), "{}", called.stdout);
    }
    let mails = server.mails(&to);
    assert_eq!(mails.len(), 3);
    for mail in &mails[1..] {
        assert!(mail.header("Subject").starts_with("GCN/LVC_TEST TEST S090103c: "), "{}", mail.header("Subject"));
        assert_eq!(mail.fields("NOTICE_TYPE"), ["TEST LVC Preliminary"]);
        assert_eq!(mail.fields("TRIGGER_ID"), ["0x12"]);
        assert!(mail.headers("References").is_empty() && mail.part("image/png").1.len() > 10_000);
    }
    assert_ne!(mails[1].header("Message-ID"), mails[2].header("Message-ID"));
}

/// Compares docs/mail.md with the declared fields; with BLESS=1 it writes the tables.
#[test]
fn page_on_mail_lists_exactly_the_fields() {
    let path = workspace().join("docs/mail.md");
    let page = fs::read_to_string(&path).expect("docs/mail.md");
    let rows = |fields: &[(&str, &str)]| -> String {
        fields.iter().map(|(name, content)| format!("| `{name}` | {content} |\n")).collect()
    };
    let mut tables = [rows(&LVC_FIELDS), rows(&COUNTERPART_FIELDS)].into_iter();
    let (before, fields) = page.split_once("\n## Fields\n").expect("the section on fields");
    let mut expected = format!("{before}\n## Fields\n");
    for line in fields.lines().filter(|line| !line.starts_with("| `")) {
        expected += &format!("{line}\n");
        if line == "|---|---|" {
            expected += &tables.next().expect("two tables");
        }
    }
    assert_eq!(tables.next(), None, "docs/mail.md: expected two tables");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).expect("written");
    }
    assert!(fs::read_to_string(&path).expect("docs/mail.md") == expected, "docs/mail.md: run this test with BLESS=1");
}
