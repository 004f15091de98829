//! Arbitrary bytes as a spacecraft file of Fermi: an error, or a direction on the sphere at any time.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use science::visibility::ft2::Pointings;

fuzz_target!(|input: (i32, &[u8])| {
    let (seconds, bytes) = input;
    if !bytes.starts_with(&[0x1f, 0x8b])
        && let Ok(pointings) = Pointings::read(bytes)
        && let Ok(time) = Timestamp::from_second(i64::from(seconds))
        && let Ok((ra, dec)) = pointings.at(time)
    {
        assert!((0.0..=360.0).contains(&ra) && (-90.0..=90.0).contains(&dec));
    }
});
