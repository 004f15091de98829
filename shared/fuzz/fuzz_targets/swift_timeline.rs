//! Arbitrary bytes as what is kept of the Swift service, and as one answer: an error, or a pointing on the sphere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use science::visibility::swift_timeline::{Answers, PointingOutcome, Window, is_full, json};

fuzz_target!(|bytes: &[u8]| {
    let kept = Answers::read(bytes);
    let answers = match json(bytes) {
        // The same in the place of every answer.
        Ok(answer) => {
            let hour = kept.as_ref().map_or_else(|_| "2023-05-18T12:00:00Z".parse().expect("a time"), |kept| kept.hour);
            let mut answers = Answers::new(Window::of(hour), answer.clone(), answer.clone(), vec![answer.clone(); 2]);
            answers.planquery = Some(answer.clone());
            let _ = is_full(&answer);
            vec![Ok(answers), kept]
        }
        Err(_) => vec![kept],
    };
    for answers in answers {
        let found = answers.and_then(|answers| {
            assert_eq!(Answers::read(&answers.to_json()).as_ref(), Ok(&answers));
            let timeline = answers.timeline()?;
            for minute in 0..60 {
                let time = answers.hour.saturating_add(jiff::SignedDuration::from_mins(minute)).unwrap_or(answers.hour);
                if let Ok(PointingOutcome::Seen(seen)) = timeline.at(time) {
                    let pointing = seen.pointing;
                    assert!((0.0..=360.0).contains(&pointing.ra) && (-90.0..=90.0).contains(&pointing.dec));
                    assert_eq!(seen.is_flown, timeline.is_flown(time));
                }
            }
            Ok(())
        });
        if let Err(error) = found {
            assert!(error.to_string().len() < 2000, "a message for a person: {error}");
        }
    }
});
