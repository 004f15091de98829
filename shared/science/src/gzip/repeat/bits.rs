//! Bits packed into bytes, least significant first (RFC 1951, section 3.1.1).

use std::io::{self, Write};

/// Size at which buffered bytes are flushed.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes bits.
pub struct BitWriter<W> {
    out: W,
    bytes: Vec<u8>,
    /// Up to seven bits of an incomplete byte, and their number.
    pending: u64,
    count: u32,
}

impl<W: Write> BitWriter<W> {
    /// Begins on a byte boundary.
    pub fn new(out: W) -> Self {
        BitWriter { out, bytes: Vec::with_capacity(BUFFER_BYTES + 64), pending: 0, count: 0 }
    }

    /// Writes the low `bits` of `value`, at most 56; the other bits must be zero.
    pub fn put(&mut self, value: u64, bits: u32) -> io::Result<()> {
        debug_assert!(bits <= 56 && value >> bits == 0);
        self.pending |= value << self.count;
        let count = self.count + bits;
        self.bytes.extend_from_slice(&self.pending.to_le_bytes()[..(count / 8) as usize]);
        self.pending >>= count / 8 * 8;
        self.count = count % 8;
        if self.bytes.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the same bits `times` times. Eight repetitions of n bits are n whole bytes at any bit offset, so these
    /// bytes are computed once and copied.
    pub fn put_repeated(&mut self, value: u64, bits: u32, times: u64) -> io::Result<()> {
        let octets = (times / 8).saturating_sub(1);
        for _ in 0..times - 8 * octets {
            self.put(value, bits)?;
        }
        if octets == 0 {
            return Ok(());
        }
        // At least eight repetitions are written, so the pending bits are the pattern's end, now and after eight more.
        self.flush()?;
        for _ in 0..8 {
            self.put(value, bits)?;
        }
        let octet = std::mem::take(&mut self.bytes);
        let at_once = (BUFFER_BYTES / octet.len()).clamp(1, octets as usize);
        let piece = octet.repeat(at_once);
        let mut left = octets as usize * octet.len();
        while left > 0 {
            let length = left.min(piece.len());
            self.out.write_all(&piece[..length])?;
            left -= length;
        }
        self.bytes = piece;
        self.bytes.clear();
        Ok(())
    }

    /// Fills the last byte with zeros.
    pub fn align(&mut self) -> io::Result<()> {
        match self.count {
            0 => Ok(()),
            count => self.put(0, 8 - count),
        }
    }

    /// Flushes every whole byte.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
