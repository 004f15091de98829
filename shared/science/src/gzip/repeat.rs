//! A gzip stream of repeated blocks, written without expanding them.
//!
//! A flat sky map is a few thousand rows, each repeated 4ᵏ times. Time and memory grow with the number of rows and the
//! size of the compressed stream, not with the size of the expanded one.
//!
//! The stream (RFC 1952, section 2.3) is a header, DEFLATE data, the CRC-32 of the expanded bytes, and their number.
//! The data (RFC 1951) is a sequence of blocks with Huffman codes of their own (section 3.2.7). A block of bytes
//! repeated n times is written once as literals; the rest is back-references at a distance of the block's length
//! (section 3.2.5), of 258 bytes each, the maximum. All of them have the same few bits, which
//! `BitWriter::put_repeated` repeats. Bytes in common with the previous block are back-references too. The CRC of n
//! repetitions follows from that of one in log₂ n steps: `Crc`.

mod bits;
mod crc;
mod huffman;

use std::io::{self, Write};

use bits::BitWriter;
use crc::Crc;
use huffman::Code;

/// The longest copy (RFC 1951, section 3.2.5) [bytes].
const MAX_COPY_BYTES: u64 = 258;
/// The shortest copy (RFC 1951, section 3.2.5) [bytes].
const MIN_COPY_BYTES: usize = 3;
/// How far back a copy may reach (RFC 1951, section 3.2.5) [bytes].
pub const MAX_DISTANCE_BYTES: usize = 32_768;
/// A DEFLATE block ends after this many literals [bytes], so that its codes (about 100 bytes) fit its content. Measured
/// on real maps: half or twice as many make larger files.
const BLOCK_LITERALS: usize = 1 << 13;
/// A DEFLATE block also ends after this many copies.
const BLOCK_COPIES: usize = 1 << 14;
/// Symbol that ends a block (RFC 1951, section 3.2.5).
const END_OF_BLOCK: usize = 256;

/// Literals followed by one copy.
struct Sequence {
    literals: usize,
    distance: usize,
    copied: u64,
}

/// Writes repeated blocks of bytes as one gzip stream. The header has no file name and no time, so the bytes depend on
/// the content alone.
pub struct RepeatWriter<W> {
    out: BitWriter<W>,
    literals: Vec<u8>,
    sequences: Vec<Sequence>,
    /// Number of literals after the last sequence.
    trailing_literals: usize,
    /// The last block written.
    previous: Vec<u8>,
    crc: Crc,
    size: u64,
}

impl<W: Write> RepeatWriter<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(out: W) -> io::Result<Self> {
        let mut out = BitWriter::new(out);
        // RFC 1952, section 2.3: magic, DEFLATE, no flags, no time (4 bytes), no hint, system unknown.
        for byte in [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] {
            out.put(byte, 8)?;
        }
        Ok(RepeatWriter {
            out,
            literals: Vec::with_capacity(BLOCK_LITERALS + MAX_DISTANCE_BYTES),
            sequences: Vec::new(),
            trailing_literals: 0,
            previous: Vec::new(),
            crc: Crc::default(),
            size: 0,
        })
    }

    /// Appends bytes, compressing runs of one byte.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for run in bytes.chunk_by(|a, b| a == b) {
            self.repeat(&run[..1], run.len() as u64)?;
        }
        Ok(())
    }

    /// Appends `block`, at most [`MAX_DISTANCE_BYTES`] bytes, `times` times.
    ///
    /// # Errors
    /// `InvalidInput`, when the block is empty or too long, or the stream reaches 2⁶⁴ bytes; or when writing fails.
    pub fn repeat(&mut self, block: &[u8], times: u64) -> io::Result<()> {
        if block.is_empty() || block.len() > MAX_DISTANCE_BYTES {
            let text = format!("gzip: expected a block of 1 to {MAX_DISTANCE_BYTES} bytes, found {}", block.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if times == 0 {
            return Ok(());
        }
        let length = block.len() as u64;
        let size = length.checked_mul(times).and_then(|more| self.size.checked_add(more));
        self.size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "gzip: more than 2^64 bytes"))?;
        self.crc.append(block, times);
        self.literals_and_common(block);
        match length * (times - 1) {
            rest if rest < MIN_COPY_BYTES as u64 => (1..times).for_each(|_| self.literal(block)),
            rest => self.copy(block.len(), rest),
        }
        self.previous.clear();
        self.previous.extend_from_slice(block);
        if self.literals.len() >= BLOCK_LITERALS || self.sequences.len() >= BLOCK_COPIES {
            self.end_block(false)?;
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block(true)?;
        self.out.align()?;
        self.out.put(self.crc.value().into(), 32)?;
        self.out.put(self.size & 0xffff_ffff, 32)?;
        self.out.finish()
    }

    /// Adds a block: bytes equal to the previous block's at the same offset become copies, the others literals.
    fn literals_and_common(&mut self, block: &[u8]) {
        if self.previous.len() != block.len() {
            return self.literal(block);
        }
        let previous = std::mem::take(&mut self.previous);
        let mut at = 0;
        while at < block.len() {
            let common = block[at..].iter().zip(&previous[at..]).take_while(|(a, b)| a == b).count();
            if common >= MIN_COPY_BYTES {
                self.copy(block.len(), common as u64);
                at += common;
            } else {
                let next = (at + common + 1).min(block.len());
                self.literal(&block[at..next]);
                at = next;
            }
        }
        self.previous = previous;
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.literals.extend_from_slice(bytes);
        self.trailing_literals += bytes.len();
    }

    fn copy(&mut self, distance: usize, copied: u64) {
        match self.sequences.last_mut().filter(|last| self.trailing_literals == 0 && last.distance == distance) {
            Some(last) => last.copied += copied,
            None => self.sequences.push(Sequence {
                literals: std::mem::take(&mut self.trailing_literals),
                distance,
                copied,
            }),
        }
    }

    /// Writes the gathered sequences as one DEFLATE block with its own codes (RFC 1951, section 3.2.7).
    fn end_block(&mut self, last: bool) -> io::Result<()> {
        let mut symbols = [0u64; 286];
        let mut distances = [0u64; 30];
        for byte in &self.literals {
            symbols[usize::from(*byte)] += 1;
        }
        symbols[END_OF_BLOCK] += 1;
        for sequence in &self.sequences {
            for (length, times) in copies(sequence.copied) {
                symbols[length_symbol(length).0] += times;
                distances[distance_symbol(sequence.distance).0] += times;
            }
        }
        let (symbols, distances) = (Code::new(&symbols, 15), Code::new(&distances, 15));
        let out = &mut self.out;
        out.put(u64::from(last), 1)?;
        out.put(0b10, 2)?;
        huffman::write_codes(out, &symbols, &distances)?;

        let mut literals = self.literals.iter();
        for sequence in &self.sequences {
            for byte in literals.by_ref().take(sequence.literals) {
                let (code, bits) = symbols.of(usize::from(*byte));
                out.put(code, bits)?;
            }
            let (symbol, extra, extra_bits) = distance_symbol(sequence.distance);
            let (code, bits) = distances.of(symbol);
            let (distance, distance_bits) = (code | extra << bits, bits + extra_bits);
            for (length, times) in copies(sequence.copied) {
                let (symbol, extra, extra_bits) = length_symbol(length);
                let (code, bits) = symbols.of(symbol);
                let pattern = code | extra << bits | distance << (bits + extra_bits);
                out.put_repeated(pattern, bits + extra_bits + distance_bits, times)?;
            }
        }
        for byte in literals {
            let (code, bits) = symbols.of(usize::from(*byte));
            out.put(code, bits)?;
        }
        let (code, bits) = symbols.of(END_OF_BLOCK);
        out.put(code, bits)?;
        self.literals.clear();
        self.sequences.clear();
        self.trailing_literals = 0;
        Ok(())
    }
}

/// The lengths of the copies that make up `copied` bytes (at least 3), each with its count.
fn copies(copied: u64) -> impl Iterator<Item = (u64, u64)> {
    let (mut longest, rest) = (copied / MAX_COPY_BYTES, copied % MAX_COPY_BYTES);
    let ends = match rest {
        // Below the minimum of 3: the last two copies share the rest.
        1 | 2 if longest > 0 => {
            longest -= 1;
            [MAX_COPY_BYTES / 2, MAX_COPY_BYTES / 2 + rest]
        }
        rest => [0, rest],
    };
    let longest = (MAX_COPY_BYTES, longest);
    [longest, (ends[0], 1), (ends[1], 1)].into_iter().filter(|(length, times)| *length > 0 && *times > 0)
}

/// A length's symbol, with the value and number of its extra bits (table of RFC 1951, section 3.2.5).
fn length_symbol(length: u64) -> (usize, u64, u32) {
    if length == MAX_COPY_BYTES {
        return (285, 0, 0);
    }
    let (symbol, extra, bits) = geometric(length - MIN_COPY_BYTES as u64, 4);
    (257 + symbol, extra, bits)
}

/// A distance's symbol, with the value and number of its extra bits (table of RFC 1951, section 3.2.5).
fn distance_symbol(distance: usize) -> (usize, u64, u32) {
    geometric(distance as u64 - 1, 2)
}

/// The rule of both tables: each power of two is divided into `steps` equal ranges, one per symbol.
fn geometric(value: u64, steps: u64) -> (usize, u64, u32) {
    let bits = (value / steps).checked_ilog2().unwrap_or_default();
    let above = value >> bits;
    ((u64::from(bits) * steps + above) as usize, value - (above << bits), bits)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn expanded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut out).expect("a gzip stream");
        out
    }

    fn written(blocks: &[(Vec<u8>, u64)]) -> Vec<u8> {
        let mut gzip = RepeatWriter::new(Vec::new()).expect("begun");
        for (block, times) in blocks {
            gzip.repeat(block, *times).expect("repeated");
        }
        gzip.finish().expect("ended")
    }

    #[test]
    fn symbols_match_the_tables_of_the_rfc() {
        for (length, expected) in [
            (3, (257, 0, 0)),
            (10, (264, 0, 0)),
            (11, (265, 0, 1)),
            (12, (265, 1, 1)),
            (13, (266, 0, 1)),
            (130, (280, 15, 4)),
            (131, (281, 0, 5)),
            (257, (284, 30, 5)),
            (258, (285, 0, 0)),
        ] {
            assert_eq!(length_symbol(length), expected, "{length}");
        }
        for (distance, expected) in [
            (1, (0, 0, 0)),
            (4, (3, 0, 0)),
            (5, (4, 0, 1)),
            (8, (5, 1, 1)),
            (32, (9, 7, 3)),
            (33, (10, 0, 4)),
            (32_768, (29, 8191, 13)),
        ] {
            assert_eq!(distance_symbol(distance), expected, "{distance}");
        }
    }

    #[test]
    fn no_blocks_give_an_empty_stream() {
        assert_eq!(expanded(&written(&[])), b"");
        assert_eq!(expanded(&written(&[(b"x".to_vec(), 0)])), b"");
    }

    #[test]
    fn writes_the_checksum_of_a_stream_above_4_gib() {
        // 5 GiB of one row: 21 million copies, 13 MB of gzip; the decoder checks CRC and length.
        let row: Vec<u8> = (0..32).collect();
        let bytes = written(&[(row, 5 << 25)]);
        let size = io::copy(&mut GzDecoder::new(&bytes[..]), &mut io::sink()).expect("a gzip stream");
        assert_eq!(size, 5 << 30);
    }

    #[test]
    fn rejects_empty_and_too_long_blocks() {
        let mut gzip = RepeatWriter::new(Vec::new()).expect("begun");
        for block in [vec![], vec![0; MAX_DISTANCE_BYTES + 1]] {
            let error = gzip.repeat(&block, 1).expect_err("refused");
            assert!(error.to_string().contains("expected a block of 1 to 32768 bytes"), "{error}");
        }
        assert!(gzip.repeat(&[0; 2], u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_blocks_round_trip(blocks in vec((vec(any::<u8>(), 1..70), 0..400u64), 0..60)) {
            let expected: Vec<u8> =
                blocks.iter().flat_map(|(block, times)| block.repeat(*times as usize)).collect();
            prop_assert_eq!(expanded(&written(&blocks)), expected);
        }

        #[test]
        fn rows_with_common_columns_round_trip(
            rows in vec((vec(0..3u8, 4), prop_oneof![Just(1u64), Just(4), Just(4096), Just(1 << 16)]), 0..40)
        ) {
            let blocks: Vec<(Vec<u8>, u64)> = rows
                .into_iter()
                .map(|(columns, times)| (columns.into_iter().flat_map(|column| [column; 8]).collect(), times))
                .collect();
            let expected: Vec<u8> =
                blocks.iter().flat_map(|(block, times)| block.repeat(*times as usize)).collect();
            prop_assert!(expanded(&written(&blocks)) == expected);
        }

        #[test]
        fn any_bytes_round_trip(bytes in vec(0..4u8, 0..100_000)) {
            let mut gzip = RepeatWriter::new(Vec::new()).expect("begun");
            gzip.write(&bytes).expect("written");
            prop_assert_eq!(expanded(&gzip.finish().expect("ended")), bytes);
        }
    }
}
