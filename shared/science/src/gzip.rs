//! gzip (RFC 1952), read as gzip(1) and Python's `gzip` do: members are concatenated, and bytes after the last one
//! (zero padding, a signature) are ignored.

pub mod repeat;

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use shared::{Context, Result};

/// Magic bytes of a member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether bytes begin with gzip's magic.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Inflates bytes in memory, to at most `limit` bytes.
///
/// # Errors
/// Permanent, when a member is broken or more than `limit` bytes come out.
pub fn inflate(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut inflated = Vec::new();
    Inflated::new(bytes, limit).read_to_end(&mut inflated).permanent("gzip")?;
    Ok(inflated)
}

/// Reads the inflated bytes; exceeding the limit is an error, not an end of file.
#[derive(Debug)]
pub struct Inflated<R> {
    /// The current member; `None` after the last one.
    member: Option<GzDecoder<R>>,
    limit: u64,
    left: u64,
}

impl<R: BufRead> Inflated<R> {
    /// Inflates a source, to at most `limit` bytes.
    pub fn new(source: R, limit: u64) -> Self {
        Inflated { member: Some(GzDecoder::new(source)), limit, left: limit }
    }

    /// Moves to the next member, if one follows.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let mut source = member.into_inner();
        loop {
            let bytes = source.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            match bytes.get(zeros..) {
                _ if bytes.is_empty() => return Ok(()),
                Some([]) | None => source.consume(zeros),
                // The buffer may end between the two magic bytes.
                Some(rest) if rest.starts_with(&MAGIC) || rest == &MAGIC[..1] => {
                    source.consume(zeros);
                    self.member = Some(GzDecoder::new(source));
                    return Ok(());
                }
                Some(_) => return Ok(()),
            }
        }
    }
}

impl<R: BufRead> Read for Inflated<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let read = member.read(bytes)?;
            if read == 0 {
                self.next_member()?;
                continue;
            }
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
                io::Error::other(format!("expected at most {} bytes inflated, found more", self.limit))
            })?;
            return Ok(read);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).expect("memory");
        gzip.finish().expect("memory")
    }

    #[test]
    fn ignores_bytes_after_the_last_member() {
        for tail in [&b""[..], b"\0", &[0; 10_240], b"\n", b"garbage", b"\0\0\x1e", b"\x8b\x1f"] {
            let bytes = [&gzip(b"whole")[..], tail].concat();
            assert_eq!(inflate(&bytes, 100).expect("whole"), b"whole", "{tail:?}");
        }
        let two = [&gzip(b"one ")[..], &[0; 512], &gzip(b"two")[..], &[0; 512]].concat();
        assert_eq!(inflate(&two, 100).expect("both"), b"one two");
    }

    #[test]
    fn rejects_corrupt_members_and_enforces_the_limit() {
        let whole = gzip(b"whole");
        for end in 0..whole.len() {
            assert!(inflate(&whole[..end], 100).is_err(), "{end} bytes");
        }
        let mut wrong = whole.clone();
        let crc = wrong.len() - 8;
        wrong[crc] ^= 1;
        assert!(inflate(&wrong, 100).is_err());
        // A truncated second member is not padding.
        let two = [&whole[..], &whole[..8]].concat();
        assert!(inflate(&two, 100).is_err());
        assert!(inflate(&whole, 4).is_err_and(|error| error.to_string().contains("at most 4 bytes")));
        assert!(inflate(&whole, 5).is_ok());
    }

    proptest! {
        #[test]
        fn reads_zero_padded_members_with_any_buffer_size(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0_usize..40), 1..5),
            buffer in 1_usize..64,
        ) {
            let mut file = Vec::new();
            for (part, zeros) in &parts {
                file.extend(gzip(part));
                file.extend(vec![0; *zeros]);
            }
            let expected: Vec<u8> = parts.iter().flat_map(|(part, _)| part.clone()).collect();
            let mut found = Vec::new();
            Inflated::new(BufReader::with_capacity(buffer, &file[..]), 10_000).read_to_end(&mut found).expect("whole");
            prop_assert_eq!(found, expected);
        }
    }
}
