//! Arbitrary bytes to the FITS reader and to the sky map: an answer or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use science::fits::Table;
use science::skymap::MultiOrderMap;

fuzz_target!(|bytes: &[u8]| {
    // Enough for any table that fits into a fuzzer's input, and no more.
    if let Ok(table) = Table::open_up_to(bytes, 1 << 20)
        && table.rows() <= 1 << 16
    {
        for column in table.columns() {
            let _ = (table.f64s(&column.name), table.i64s(&column.name), table.strings(&column.name));
            let _ = (table.bools(&column.name), table.unit(&column.name));
        }
        let _ = (table.header_str("CREATOR"), table.header_f64("DISTMEAN"));
    }
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        let _ = MultiOrderMap::decode(bytes);
    }
});
