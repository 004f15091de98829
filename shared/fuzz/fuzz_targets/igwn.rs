//! Arbitrary bytes as a LIGO/Virgo/KAGRA notice: an error or a notice, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::notice::{NoticeKind, content};
use shared::notice::igwn::Notice;

fuzz_target!(|bytes: &[u8]| {
    let _ = NoticeKind::recognise(bytes);
    // What is strict JSON reads as such; numbers that are not finite are the only thing beyond it.
    if let Ok(strict) = serde_json::from_slice::<serde_json::Value>(bytes) {
        assert_eq!(content(bytes), Some(strict));
    }
    if let Err(error) = Notice::parse(bytes) {
        assert!(error.to_string().len() < 2000, "a message for a person: {error}");
    }
});
