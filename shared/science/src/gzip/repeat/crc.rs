//! The CRC-32 of repeated bytes (RFC 1952, section 8) in logarithmic time.
//!
//! A CRC is a polynomial modulo P over GF(2), with crc(AB) = crc(A)·x^(8·|B|) + crc(B). So crc(BB) follows from crc(B),
//! crc(BBBB) from crc(BB), and so on.

/// P without its highest power, the lowest power in the highest bit (RFC 1952, section 8).
const POLYNOMIAL: u32 = 0xedb8_8320;
/// x⁰ in this bit order.
const ONE: u32 = 1 << 31;

/// Multiplication by one power of x, with a lookup table per byte of the operand.
struct Shift([[u32; 256]; 4]);

impl Shift {
    fn by(power: u32) -> Self {
        let mut tables = [[0; 256]; 4];
        for (place, table) in tables.iter_mut().enumerate() {
            for bit in 0..8 {
                let product = multiply(1 << (8 * place + bit), power);
                for lower in 0..1 << bit {
                    table[1 << bit | lower] = table[lower] ^ product;
                }
            }
        }
        Shift(tables)
    }

    fn of(&self, crc: u32) -> u32 {
        crc.to_le_bytes().iter().zip(&self.0).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
    }
}

/// The product of two polynomials modulo P.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = b >> 1 ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

/// The shifts by 2^j blocks of one length, j = 0, 1, …
struct Shifts {
    length: usize,
    /// x^(8·length·2^j) for the next j.
    next: u32,
    by_power: Vec<Shift>,
}

impl Shifts {
    fn new(length: usize) -> Self {
        let mut byte = ONE >> 8; // x⁸
        let mut next = ONE;
        for bit in 0..usize::BITS {
            if length >> bit & 1 == 1 {
                next = multiply(next, byte);
            }
            byte = multiply(byte, byte);
        }
        Shifts { length, next, by_power: Vec::new() }
    }

    fn power(&mut self, j: usize) -> &Shift {
        while self.by_power.len() <= j {
            self.by_power.push(Shift::by(self.next));
            self.next = multiply(self.next, self.next);
        }
        &self.by_power[j]
    }
}

/// The CRC of the appended bytes.
#[derive(Default)]
pub struct Crc {
    value: u32,
    /// For the most recent block lengths; a table's rows and its header have two.
    shifts: Vec<Shifts>,
}

impl Crc {
    /// Number of block lengths whose shifts are kept.
    const MAX_KEPT_LENGTHS: usize = 4;

    /// Appends `block`, `times` times.
    pub fn append(&mut self, block: &[u8], times: u64) {
        let place = self.shifts.iter().position(|shifts| shifts.length == block.len()).unwrap_or_else(|| {
            self.shifts.truncate(Self::MAX_KEPT_LENGTHS - 1);
            self.shifts.push(Shifts::new(block.len()));
            self.shifts.len() - 1
        });
        let shifts = &mut self.shifts[place];
        // CRC of 2^j repetitions.
        let mut unit = crc32fast::hash(block);
        for j in 0..u64::BITS - times.leading_zeros() {
            let shift = shifts.power(j as usize);
            if times >> j & 1 == 1 {
                self.value = shift.of(self.value) ^ unit;
            }
            unit ^= shift.of(unit);
        }
    }

    /// The CRC.
    pub fn value(&self) -> u32 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_repetitions_matches_the_expanded_bytes() {
        let mut crc = Crc::default();
        let mut bytes: Vec<u8> = Vec::new();
        for (block, times) in [(&b"123456789"[..], 1), (b"a", 1000), (b"0123", 0), (b"row", 12_345), (b"\0\0\xff", 2)] {
            crc.append(block, times);
            bytes.extend(block.repeat(times as usize));
            assert_eq!(crc.value(), crc32fast::hash(&bytes), "{block:?} {times}");
        }
        // Check value of CRC-32.
        let mut crc = Crc::default();
        crc.append(b"123456789", 1);
        assert_eq!(crc.value(), 0xcbf4_3926);
    }
}
