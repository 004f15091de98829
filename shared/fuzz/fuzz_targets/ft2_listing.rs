//! Arbitrary bytes as a listing of Fermi's weekly files: the names in it, each of which reads as itself.
#![no_main]

use jiff::tz::Offset;
use libfuzzer_sys::fuzz_target;
use science::visibility::ft2::{FileName, candidates, listing};

fuzz_target!(|bytes: &[u8]| {
    let files = listing(bytes);
    for file in files.iter().take(10) {
        assert_eq!(FileName::parse(&file.name).as_ref(), Some(file));
        if let Ok(time) = Offset::UTC.to_timestamp(file.from.at(12, 0, 0, 0)) {
            assert!(!candidates(&files, time).is_empty());
        }
    }
});
