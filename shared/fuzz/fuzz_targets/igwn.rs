//! Arbitrary bytes as a LIGO/Virgo/KAGRA notice: an error or a notice, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::notice::NoticeKind;
use shared::notice::igwn::Notice;

fuzz_target!(|bytes: &[u8]| {
    let _ = NoticeKind::recognise(bytes);
    if let Err(error) = Notice::parse(bytes) {
        assert!(error.to_string().len() < 2000, "a message for a person: {error}");
    }
});
