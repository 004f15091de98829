//! Arbitrary bytes as a file of Swift's pointings: an error, or pointings with a field of view each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use science::visibility::{bat, swift_pointing};

fuzz_target!(|bytes: &[u8]| {
    match swift_pointing::read(bytes) {
        Ok(pointings) => {
            for pointing in pointings.iter().take(3) {
                assert!(swift_pointing::at(&pointings, pointing.start).is_ok());
                let area = bat::field_of_view(pointing.ra, pointing.dec, pointing.roll).area();
                assert!((7430.0..7490.0).contains(&area), "{area} deg²");
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000, "a message for a person: {error}"),
    }
});
