//! Arbitrary text as names: what parses prints as it was, and no object leaves the store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::key::{AlertName, Key, Object};

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<AlertName>() {
        assert_eq!(name.to_string(), text);
    }
    // Any reference has its object.
    let search = Object::PostIceCube(text).key().expect("a key");
    assert!(search.as_str().starts_with("work/") && search.as_str().split('/').count() == 3);
    for key in [Ok(search), Key::new(text), Object::Failed(text).key()].into_iter().flatten() {
        assert!(key.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    }
});
