//! Length-limited Huffman codes and their encoding in a DEFLATE block (RFC 1951, sections 3.2.2 and 3.2.7).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use super::bits::BitWriter;

/// The order in which the lengths of the code of lengths are sent (RFC 1951, section 3.2.7).
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A prefix code: each symbol's bits, in writing order, and their number; 0 for an unused symbol.
pub struct Code {
    lengths: Vec<u8>,
    codes: Vec<u16>,
}

impl Code {
    /// The code for symbols with these counts, none longer than `limit` bits. At least two symbols have a code, which
    /// some decoders require.
    pub fn new(counts: &[u64], limit: u8) -> Self {
        let mut counts = counts.to_vec();
        for symbol in 0..2 {
            if counts.iter().filter(|count| **count > 0).count() < 2 {
                counts[symbol] = counts[symbol].max(1);
            }
        }
        let mut lengths = lengths(&counts);
        // Halving the counts makes the tree shallower, at the cost of a few bits.
        while lengths.iter().any(|length| *length > limit) {
            counts.iter_mut().filter(|count| **count > 0).for_each(|count| *count = count.div_ceil(2));
            lengths = self::lengths(&counts);
        }
        let codes = codes(&lengths);
        Code { lengths, codes }
    }

    /// A symbol's code and its length in bits.
    pub fn of(&self, symbol: usize) -> (u64, u32) {
        (self.codes[symbol].into(), self.lengths[symbol].into())
    }

    /// The lengths up to the last used symbol, at least `least` of them.
    fn used(&self, least: usize) -> &[u8] {
        let last = self.lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1);
        &self.lengths[..last.max(least)]
    }
}

/// The lengths of Huffman's code.
fn lengths(counts: &[u64]) -> Vec<u8> {
    let mut parents: Vec<usize> = vec![usize::MAX; counts.len()];
    let mut heap: BinaryHeap<_> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(node, count)| Reverse((*count, node)))
        .collect();
    while let (Some(Reverse((a, first))), Some(Reverse((b, second)))) = (heap.pop(), heap.pop()) {
        let node = parents.len();
        parents.push(usize::MAX);
        (parents[first], parents[second]) = (node, node);
        heap.push(Reverse((a.saturating_add(b), node)));
        if heap.len() == 1 {
            break;
        }
    }
    // A node's parent comes after it.
    let mut depths = vec![0u8; parents.len()];
    for node in (0..parents.len()).rev() {
        if parents[node] != usize::MAX {
            depths[node] = depths[parents[node]].saturating_add(1);
        }
    }
    depths.truncate(counts.len());
    depths
}

/// The codes for the lengths (RFC 1951, section 3.2.2), bits reversed because a code is sent from its most significant
/// bit.
fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut next = 0u16;
    let mut codes = vec![0; lengths.len()];
    for length in 1..=15 {
        next <<= 1;
        for symbol in (0..lengths.len()).filter(|symbol| lengths[*symbol] == length) {
            codes[symbol] = next.reverse_bits() >> (16 - u32::from(length));
            next += 1;
        }
    }
    codes
}

/// Writes both codes' lengths at the beginning of a block.
pub fn write_codes<W: Write>(out: &mut BitWriter<W>, symbols: &Code, distances: &Code) -> io::Result<()> {
    let (symbols, distances) = (symbols.used(257), distances.used(1));
    let runs: Vec<LengthRun> = runs(&[symbols, distances].concat());
    let mut counts = [0; 19];
    runs.iter().for_each(|run| counts[run.symbol] += 1);
    let code = Code::new(&counts, 7);
    let sent = LENGTHS_ORDER.iter().rposition(|symbol| code.lengths[*symbol] > 0).map_or(4, |last| (last + 1).max(4));
    out.put(symbols.len() as u64 - 257, 5)?;
    out.put(distances.len() as u64 - 1, 5)?;
    out.put(sent as u64 - 4, 4)?;
    for symbol in &LENGTHS_ORDER[..sent] {
        out.put(code.lengths[*symbol].into(), 3)?;
    }
    for run in runs {
        let (bits, count) = code.of(run.symbol);
        out.put(bits, count)?;
        out.put(run.extra, run.extra_bits)?;
    }
    Ok(())
}

/// One length, or several equal ones.
struct LengthRun {
    symbol: usize,
    extra: u64,
    extra_bits: u32,
}

fn runs(lengths: &[u8]) -> Vec<LengthRun> {
    let mut runs = Vec::new();
    for equal in lengths.chunk_by(|a, b| a == b) {
        let (length, mut left) = (equal[0], equal.len());
        if length > 0 {
            runs.push(LengthRun { symbol: length.into(), extra: 0, extra_bits: 0 });
            left -= 1;
        }
        while left > 0 {
            // RFC 1951, section 3.2.7: 16 repeats the previous length 3 to 6 times; 17 and 18 are 3 to 10 and 11 to 138
            // zeros.
            let (symbol, least, most, extra_bits) = match (length, left) {
                (_, 1 | 2) => (usize::from(length), 1, 1, 0),
                (0, 11..) => (18, 11, 138, 7),
                (0, _) => (17, 3, 10, 3),
                _ => (16, 3, 6, 2),
            };
            let taken = left.min(most);
            runs.push(LengthRun { symbol, extra: (taken - least) as u64, extra_bits });
            left -= taken;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ 2^-length, in units of 2^-15: a code is complete when it is 2^15.
    fn kraft(code: &Code) -> u32 {
        code.lengths.iter().filter(|length| **length > 0).map(|length| 1 << (15 - length)).sum()
    }

    #[test]
    fn codes_are_complete_and_within_the_length_limit() {
        // Fibonacci numbers give the deepest tree.
        let mut counts = vec![1u64, 1];
        while counts.len() < 60 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        for limit in [7, 15] {
            let code = Code::new(&counts, limit);
            assert!(code.lengths.iter().all(|length| (1..=limit).contains(length)), "{:?}", code.lengths);
            assert_eq!(kraft(&code), 1 << 15);
        }
        assert_eq!(Code::new(&[1, 1, 2, 4], 15).lengths, [3, 3, 2, 1]);
    }

    #[test]
    fn codes_match_the_example_of_the_rfc() {
        // RFC 1951, section 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4).
        let lengths = [3, 3, 3, 3, 3, 2, 4, 4];
        let expected: [u16; 8] = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111];
        let reversed: Vec<u16> = expected
            .iter()
            .zip(lengths)
            .map(|(code, length)| code.reverse_bits() >> (16 - u32::from(length)))
            .collect();
        assert_eq!(codes(&lengths), reversed);
    }

    #[test]
    fn at_least_two_symbols_have_a_code() {
        for counts in [vec![0; 30], vec![9, 0, 0], vec![0, 0, 9]] {
            let code = Code::new(&counts, 15);
            assert_eq!(kraft(&code), 1 << 15, "{:?}", code.lengths);
        }
    }
}
