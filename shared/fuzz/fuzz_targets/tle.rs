//! Arbitrary bytes as an orbit of Fermi: an error, or an orbit whose coverage can be asked for at any time.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use science::visibility::fermi;
use science::visibility::orbit::Tle;

fuzz_target!(|bytes: &[u8]| {
    match Tle::parse_all(bytes) {
        Ok(sets) => {
            for tle in sets.iter().take(3) {
                assert_eq!(Tle::parse_all(tle.text().as_bytes()).map(|sets| sets.len()), Ok(1));
                for time in [tle.epoch(), Timestamp::UNIX_EPOCH] {
                    let _ = fermi::gbm(tle, time, 1e9);
                }
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000, "a message for a person: {error}"),
    }
});
