//! Arbitrary blocks, arbitrarily repeated, as one gzip stream: it expands to exactly these bytes, never a panic.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use science::gzip::repeat::RepeatWriter;

fuzz_target!(|bytes: &[u8]| {
    let mut expected = Vec::new();
    let mut gzip = RepeatWriter::new(Vec::new()).expect("a vector takes everything");
    let mut rest = bytes;
    // Two bytes say how long the next block is and how often it comes; then come its bytes.
    while let [length, times, after @ ..] = rest {
        let length = (usize::from(*length) + 1).min(after.len());
        if length == 0 || expected.len() > 1 << 20 {
            break;
        }
        let (block, after) = after.split_at(length);
        let times = u64::from(*times).pow(2) / 8;
        gzip.repeat(block, times).expect("a block");
        expected.extend(block.repeat(times as usize));
        rest = after;
    }
    gzip.write(rest).expect("bytes");
    expected.extend_from_slice(rest);
    let stream = gzip.finish().expect("an end");
    let mut found = Vec::new();
    flate2::read::GzDecoder::new(&stream[..]).read_to_end(&mut found).expect("a gzip stream");
    assert!(found == expected);
});
