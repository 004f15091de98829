use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Invented answers in the service's form, which its published client reads: tests/golden/swift_timeline.py.
const SAMPLE: &[u8] = include_bytes!("sample.json");

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn sample() -> Answers {
    Answers::read(SAMPLE).expect("the sample")
}

/// The pointing at a time; the reason, when there is none, as an error.
fn seen(answers: &Answers, time: &str) -> Result<(bool, f64, f64, f64)> {
    let Seen { pointing, is_flown } = match answers.timeline()?.at(at(time))? {
        PointingOutcome::Seen(seen) => seen,
        PointingOutcome::Unseen(reason) => return Err(Error::permanent(reason)),
    };
    assert!(
        pointing.start <= at(time)
            && at(time) < pointing.end.saturating_add(SignedDuration::from_secs(1)).expect("a time")
    );
    Ok((is_flown, pointing.ra, pointing.dec, pointing.roll))
}

fn said(answers: &Answers, time: &str) -> String {
    seen(answers, time).expect_err(time).to_string()
}

/// Until where what was flown is known.
fn known_until(clock: &str) -> Answers {
    let mut answers = sample();
    answers.obsquery[0]["afstmax"] = json!(clock);
    let entries = answers.obsquery[0]["entries"].as_array_mut().expect("entries");
    entries.retain(|entry| entry["end"].as_str().expect("a time") <= clock);
    answers
}

#[test]
fn asks_and_reads_as_the_published_client() {
    let golden = std::fs::read("../../tests/golden/swift_timeline.json").expect("golden values");
    let golden: Value = serde_json::from_slice(&golden).expect("JSON");
    let answers = sample();
    let window = Window::of(answers.hour);
    assert_eq!(json!([window.clock(), window.saa(), window.flown(0), window.planned()]), golden["requests"]);
    assert_eq!(window.name(), "2023-05-18T12");
    assert_eq!(Window::of(at("2023-05-18T12:59:59.999Z")), window);
    assert_ne!(Window::of(at("2023-05-18T13:00:00Z")), window);

    let timeline = answers.timeline().expect("a timeline");
    assert_eq!(Some(timeline.utcf.as_secs_f64()), golden["utcf"].as_f64());
    let time = |value: &Value| at(value.as_str().expect("a time"));
    let periods = |list: &str| -> Vec<Period> {
        golden[list].as_array().expect(list).iter().map(|entry| (time(&entry["begin"]), time(&entry["end"]))).collect()
    };
    assert_eq!(timeline.saa, periods("saa"));
    let in_utc = |snapshots: &[Snapshot]| -> Vec<Period> {
        snapshots.iter().map(|one| (one.period.0 + timeline.utcf, one.period.1 + timeline.utcf)).collect()
    };
    assert_eq!(in_utc(&timeline.flown), periods("flown"));
    assert_eq!(in_utc(&timeline.planned), periods("planned"));
    for entry in golden["flown"].as_array().expect("snapshots") {
        // On both sides of settling and of the end, by the client's own conversion to UTC.
        let (settle, end) = (time(&entry["settle"]), time(&entry["end"]));
        let millisecond = SignedDuration::from_millis(1);
        let in_saa = |at: Timestamp| periods("saa").iter().any(|(begin, end)| (*begin..*end).contains(&at));
        let expected = ["ra", "dec", "roll"].map(|name| entry[name].as_f64().expect(name));
        for at in [settle, settle + millisecond, end - millisecond].into_iter().filter(|at| !in_saa(*at)) {
            let Ok(PointingOutcome::Seen(Seen { pointing, is_flown })) = timeline.at(at) else {
                panic!("{at}: settled")
            };
            assert_eq!((is_flown, [pointing.ra, pointing.dec, pointing.roll]), (true, expected), "{at}");
        }
        let before = timeline.at(settle - millisecond).expect("an outcome");
        assert!(
            matches!(&before, PointingOutcome::Unseen(why) if why.starts_with("Swift was slewing from ")),
            "{before:?}"
        );
        assert!(matches!(timeline.at(end), Ok(PointingOutcome::Unseen(_))), "{end}");
    }
}

#[test]
fn what_was_flown_goes_before_the_plan() {
    let signal = "2023-05-18T12:59:08.153968Z";
    assert_eq!(seen(&sample(), signal), Ok((true, 187.70593, 12.39112, 281.7)));
    let planned = known_until("2023-05-18T12:59:38");
    assert!(!planned.timeline().expect("a timeline").is_flown(at(signal)));
    // Of two planned snapshots, the one that begins last.
    assert_eq!(seen(&planned, signal), Ok((false, 98.5, -8.25, 77.75)));
    assert_eq!(seen(&planned, "2023-05-18T12:40:00Z"), Ok((true, 12.125, -71.75, 33.5)));
    // Known a second later, and without a snapshot there.
    let mut flown = known_until("2023-05-18T12:58:00");
    flown.obsquery[0]["afstmax"] = json!("2023-05-18 12:59:41.0");
    assert!(flown.timeline().expect("a timeline").is_flown(at(signal)));
    assert_eq!(
        said(&flown, signal),
        "Swift flew no snapshot at 2023-05-18T12:59:08.153968Z; the nearest is from 2023-05-18T12:30:28Z to 2023-05-18T12:57:28Z"
    );
    // The service need not say how far it reaches, or may say it as its clock does.
    flown.obsquery[0]["afstmax"] = Value::Null;
    assert!(!flown.timeline().expect("a timeline").is_flown(at(signal)));
    for (met, reaches) in [(706_107_581.0, true), (706_107_570.0, false)] {
        flown.obsquery[0]["afstmax"] = json!({"met": met, "utcf": -31.25, "isutc": false});
        assert_eq!(flown.timeline().expect("a timeline").is_flown(at(signal)), reaches, "{met}");
    }
}

#[test]
fn no_pointing_has_its_reason() {
    for (known, time, reason) in [
        (
            "2023-05-19T02:00:00",
            "2023-05-18T12:58:00Z",
            "Swift was slewing from 2023-05-18T12:57:28Z to 2023-05-18T12:58:28Z",
        ),
        (
            "2023-05-19T02:00:00",
            "2023-05-18T12:10:00Z",
            "Swift was in the South Atlantic Anomaly from 2023-05-18T12:05:00Z to 2023-05-18T12:20:00Z, where BAT takes no data",
        ),
        (
            "2023-05-19T02:00:00",
            "2023-05-18T13:22:00Z",
            "Swift flew no snapshot at 2023-05-18T13:22:00Z; the nearest is from 2023-05-18T12:57:28Z to 2023-05-18T13:19:28Z",
        ),
        (
            "2023-05-18T12:00:00",
            "2023-05-18T12:56:00Z",
            "what Swift flew is not known yet; by its plan it may have been slewing from 2023-05-18T12:53:28Z for up to 240 s",
        ),
        (
            "2023-05-18T12:00:00",
            "2023-05-18T13:26:00Z",
            "what Swift flew is not known yet, and it planned no snapshot at 2023-05-18T13:26:00Z; \
             the nearest is from 2023-05-18T12:53:28Z to 2023-05-18T13:24:28Z",
        ),
    ] {
        assert_eq!(said(&known_until(known), time), reason);
    }
}

#[test]
fn pages_are_one_timeline() {
    let mut answers = sample();
    let mut second = answers.obsquery[0].clone();
    let entries = answers.obsquery[0]["entries"].as_array_mut().expect("entries");
    second["entries"] = json!(entries.split_off(3));
    answers.obsquery.push(second);
    assert_eq!(seen(&answers, "2023-05-18T12:59:08Z"), Ok((true, 187.70593, 12.39112, 281.7)));
    assert_eq!(seen(&answers, "2023-05-18T12:40:00Z"), Ok((true, 12.125, -71.75, 33.5)));
    // The same page again adds nothing.
    answers.obsquery.push(answers.obsquery[1].clone());
    assert_eq!(answers.timeline().expect("a timeline").flown.len(), 5);
    assert!(!is_full(&answers.obsquery[0]));
    answers.obsquery[0]["entries"] = json!(vec![0; PAGE_ENTRIES]);
    assert!(is_full(&answers.obsquery[0]) && Window::of(answers.hour).flown(2).ends_with("&limit=200&offset=400"));
}

#[test]
fn an_unexpected_answer_is_an_error_that_names_the_field() {
    type Change = fn(&mut Answers);
    type Boxed = Box<dyn Fn(&mut Answers)>;
    let of_flown = |field: &'static str, value: Value| {
        move |answers: &mut Answers| answers.obsquery[0]["entries"][3][field] = value.clone()
    };
    let cases: Vec<(Boxed, &str)> = vec![
        (
            Box::new(of_flown("begin", json!(null))),
            "answer of swift/obsquery: `entries[3].begin`: expected a time such as `2023-05-18T12:31:02`, found nothing",
        ),
        (
            Box::new(of_flown("end", json!(1684414800))),
            "`entries[3].end`: expected a time such as `2023-05-18T12:31:02`, found `1684414800`",
        ),
        (
            Box::new(of_flown("end", json!("2023-05-18T12:00:00"))),
            "`entries[3].end`: expected a time after 2023-05-18T12:58:00Z, found 2023-05-18T12:00:00Z",
        ),
        (
            Box::new(of_flown("settle", json!("soon"))),
            "answer of swift/obsquery: `entries[3].settle`: expected a time such as `2023-05-18T12:31:02`, found `\\\"soon\\\"`",
        ),
        (
            Box::new(of_flown("ra", json!("187.7"))),
            "answer of swift/obsquery: `entries[3].ra`: expected a number from 0 to 360 [deg], found `\\\"187.7\\\"`",
        ),
        (
            Box::new(of_flown("dec", json!(90.5))),
            "`entries[3].dec`: expected a number from -90 to 90 [deg], found `90.5`",
        ),
        (
            Box::new(of_flown("roll", json!(null))),
            "`entries[3].roll`: expected a number from -360 to 360 [deg], found nothing",
        ),
        (
            Box::new((|answers| answers.obsquery[0]["entries"] = json!({})) as Change),
            "answer of swift/obsquery: `entries`: expected a list, found an object",
        ),
        (
            Box::new((|answers| answers.obsquery[0] = json!([])) as Change),
            "answer of swift/obsquery: expected an object, found a list",
        ),
        (
            Box::new((|answers| answers.obsquery[0]["afstmax"] = json!(true)) as Change),
            "answer of swift/obsquery: `afstmax`: expected a time such as",
        ),
        (
            Box::new((|answers| answers.obsquery[0]["afstmax"] = json!({})) as Change),
            "answer of swift/obsquery: `afstmax`: `met`: expected a number",
        ),
        (
            Box::new(
                (|answers| {
                    answers.obsquery[0]["status"] = json!({"status": "Rejected", "errors": ["no such radius", 7]})
                }) as Change,
            ),
            "answer of swift/obsquery: `status`: the service rejected the request: no such radius; 7",
        ),
        (
            Box::new(
                (|answers| answers.obsquery[0] = json!({"status": "Rejected", "errors": ["x".repeat(5000)]})) as Change,
            ),
            "the service rejected the request: xxx",
        ),
        (
            Box::new((|answers| answers.clock["entries"] = json!([])) as Change),
            "answer of swift/clock: `entries`: expected a time, found none",
        ),
        (
            Box::new((|answers| answers.clock["entries"][0]["utcf"] = json!(-3600)) as Change),
            "answer of swift/clock: `entries[0].utcf`: expected a number from -300 to 300 [s], found `-3600`",
        ),
        (
            Box::new((|answers| answers.clock["entries"][0]["met"] = json!(706_104_031.25 - 62.5)) as Change),
            "answer of swift/clock: `entries[0].met`: expected 706104031 s, which is 2023-05-18T12:00:00Z with the correction -31.25 s, found 706103968.75",
        ),
        (
            Box::new((|answers| answers.saa["entries"][1]["begin"] = json!("")) as Change),
            "answer of swift/saa: `entries[1].begin`: expected a time such as",
        ),
        (
            Box::new((|answers| answers.saa["entries"] = json!(vec![0; MAX_ENTRIES + 1])) as Change),
            "answer of swift/saa: `entries`: expected at most 5000, found 5001",
        ),
        (
            Box::new(
                (|answers| answers.planquery.as_mut().expect("a plan")["entries"][0]["begin"] = json!([])) as Change,
            ),
            "answer of swift/planquery: `entries[0].begin`: expected a time such as `2023-05-18T12:31:02`, found a list",
        ),
    ];
    for (change, expected) in cases {
        let mut answers = sample();
        change(&mut answers);
        let error = seen(&answers, "2023-05-18T12:59:08Z").expect_err(expected);
        assert!(error.to_string().contains(expected) && error.to_string().len() < 600, "{error}\nexpected {expected}");
        assert!(!error.is_retryable(), "{error}");
    }
    // What has not come yet may come.
    let mut answers = sample();
    answers.obsquery[0] = json!({"status": {"status": "Pending"}});
    let error = answers.timeline().expect_err("pending");
    assert!(error.is_retryable() && error.to_string().contains("`status` is `Pending`"), "{error}");
    // A field of a snapshot at another time is not read.
    let mut answers = sample();
    answers.obsquery[0]["entries"][0]["roll"] = Value::Null;
    assert!(seen(&answers, "2023-05-18T12:59:08Z").is_ok());
    // A status is no more than a text, or is not there.
    for status in [json!("Accepted"), Value::Null] {
        answers.obsquery[0]["status"] = status;
        assert!(seen(&answers, "2023-05-18T12:59:08Z").is_ok());
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    for (bytes, expected) in [
        (&b""[..], "expected JSON, found ``"),
        (b"<html>We have moved.</html>", "expected JSON, found `<html>We have moved.</html>`"),
        (b"\xff\xfe", "expected JSON, found `\u{fffd}\u{fffd}`"),
        (&[b' '; MAX_ANSWER_BYTES + 1], "expected at most 2097152 bytes, found 2097153"),
        (&[b'['; 100_000], "recursion limit"),
    ] {
        let error = json(bytes).expect_err(expected);
        assert!(error.to_string().contains(expected) && error.to_string().len() < 1000, "{error}");
    }
    for bytes in [&b"{}"[..], b"[]", b"{\"hour\": \"2023-05-18T12:00:00Z\"}"] {
        assert!(Answers::read(bytes).expect_err("no answers").to_string().contains("expected answers of Swift's"));
    }
    assert_eq!(Answers::read(&sample().to_json()), Ok(sample()));
}

proptest! {
    #[test]
    fn no_answer_panics(
        times in prop::collection::vec("(20[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|\\.5)?|-009999-01-01T00:00:00|9999-12-31T23:59:59)", 3..9),
        numbers in prop::collection::vec(prop_oneof![any::<f64>(), -400.0..400.0], 4),
        second in -377_705_116_800_i64..253_402_207_200,
    ) {
        let time = Timestamp::from_second(second).expect("a time");
        let mut answers = sample();
        answers.hour = time;
        answers.clock["entries"][0] = json!({"utcf": numbers[0], "met": time.as_second() as f64 - MET_0_UNIX_S - numbers[0]});
        answers.obsquery[0]["afstmax"] = json!(times[0]);
        for (i, pair) in times[1..].chunks_exact(2).enumerate() {
            let entry = json!({"begin": pair[0], "end": pair[1], "settle": pair[0], "ra": numbers[1], "dec": numbers[2], "roll": numbers[3]});
            answers.obsquery[0]["entries"][i % 5] = entry;
        }
        let window = Window::of(time);
        prop_assert!(window.flown(0).len() + window.planned().len() + window.clock().len() + window.saa().len() < 500);
        if let Ok(timeline) = answers.timeline() {
            for at in [time, Timestamp::MIN, Timestamp::MAX] {
                if let Ok(PointingOutcome::Seen(Seen { pointing, .. })) = timeline.at(at) {
                    prop_assert!((0.0..=360.0).contains(&pointing.ra) && (-90.0..=90.0).contains(&pointing.dec));
                }
            }
        }
    }
}
