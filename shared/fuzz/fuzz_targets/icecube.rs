//! Arbitrary bytes as an IceCube track search: an error or a search with a usable name, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::notice::icecube::TrackSearch;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(search) = TrackSearch::parse(bytes) {
        assert!(search.ref_id.starts_with(search.superevent_id.as_str()));
    }
});
