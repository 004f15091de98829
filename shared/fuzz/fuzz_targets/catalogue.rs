//! Arbitrary bytes as a galaxy catalogue, with columns and units of arbitrary names: an error or galaxies on the sphere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use science::galaxy::{Catalogue, Columns};

fuzz_target!(|input: (&str, &[u8])| {
    let (columns, bytes) = input;
    let columns: Columns = columns.parse().unwrap_or_default();
    match Catalogue::read_from(bytes, &columns) {
        Ok(catalogue) => {
            for i in 0..catalogue.len().min(100) {
                let galaxy = catalogue.galaxy(i);
                assert!((0.0..=360.0).contains(&galaxy.ra) && (-90.0..=90.0).contains(&galaxy.dec));
                assert!(galaxy.dist > 0.0 && galaxy.mstar >= 0.0);
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000, "a message for a person: {error}"),
    }
});
