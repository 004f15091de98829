//! Arbitrary text as names: what parses prints as it was, and no object leaves the store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::key::{AlertName, Key, Object};

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<AlertName>() {
        assert_eq!(name.to_string(), text);
    }
    for key in [Key::new(text), Object::PostIceCube(text).key(), Object::Failed(text).key()].into_iter().flatten() {
        assert!(key.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    }
});
