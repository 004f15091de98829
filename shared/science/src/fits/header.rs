//! FITS headers.

use shared::{Error, Result};

/// Size of a FITS block [bytes] (FITS standard 4.0, section 3.1).
pub(super) const BLOCK: usize = 2880;
/// Size of a header card [bytes] (section 3.2).
pub(super) const CARD: usize = 80;
/// Limit on the cards of one header; real headers have a few hundred.
pub(super) const MAX_CARDS: usize = 100_000;

/// The keywords and values of one header, in order; strings without their quotes.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub cards: Vec<(String, String)>,
}

impl Header {
    /// The header at `at`, and the offset of its data.
    pub fn parse(bytes: &[u8], at: usize) -> Result<(Self, usize)> {
        let mut cards = Vec::new();
        for (i, card) in bytes[at..].chunks_exact(CARD).take(MAX_CARDS).enumerate() {
            let keyword = card[..8].trim_ascii_end();
            if keyword == b"END" {
                let start = (at + (i + 1) * CARD).next_multiple_of(BLOCK);
                return Ok((Header { cards }, start));
            }
            if &card[8..10] == b"= " {
                cards.push((String::from_utf8_lossy(keyword).into_owned(), value(&card[10..])));
            }
        }
        Err(Error::permanent("expected the header to end with `END`"))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.cards.iter().find(|(keyword, _)| keyword == key).map(|(_, value)| value.as_str())
    }

    pub fn text_once(&self, key: &str) -> Result<Option<&str>> {
        let mut found = self.cards.iter().filter(|(keyword, _)| keyword == key);
        let first = found.next().map(|(_, value)| value.as_str());
        if found.next().is_some() {
            return Err(Error::permanent(format!("`{key}`: expected it once")));
        }
        Ok(first)
    }

    pub fn size(&self, key: &str) -> Result<usize> {
        let text = self.text_once(key)?.unwrap_or("");
        text.parse().map_err(|_| {
            Error::permanent(format!("`{key}` is `{}`, expected a number that is not negative", text.escape_default()))
        })
    }

    /// |BITPIX|/8 · GCOUNT · (PCOUNT + ∏ NAXISn) [bytes] (FITS standard 4.0, section 4.4.1).
    pub fn data_bytes(&self) -> Result<usize> {
        let axes = self.size("NAXIS")?;
        if axes > 999 {
            return Err(Error::permanent(format!("`NAXIS` is {axes}, expected at most 999")));
        }
        if axes == 0 {
            return Ok(0);
        }
        let bits = self.text_once("BITPIX")?.unwrap_or("").trim_start_matches('-');
        let bytes = match bits {
            "8" => 1,
            "16" => 2,
            "32" => 4,
            "64" => 8,
            _ => return Err(Error::permanent(format!("`BITPIX` is `{}`, expected 8 to 64", bits.escape_default()))),
        };
        let optional = |key: &str, absent: usize| match self.text(key) {
            Some(_) => self.size(key),
            None => Ok(absent),
        };
        let mut elements = 1usize;
        for n in 1..=axes {
            elements = elements.saturating_mul(self.size(&format!("NAXIS{n}"))?);
        }
        let groups = optional("GCOUNT", 1)?;
        Ok(elements.saturating_add(optional("PCOUNT", 0)?).saturating_mul(groups).saturating_mul(bytes))
    }
}

/// The value of a card: the text between quotes (a doubled quote is one), or up to the comment.
fn value(field: &[u8]) -> String {
    let field = String::from_utf8_lossy(field);
    let field = field.trim_start();
    let Some(quoted) = field.strip_prefix('\'') else {
        return field.split('/').next().unwrap_or_default().trim().to_owned();
    };
    let mut text = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\'' && characters.next_if_eq(&'\'').is_none() {
            break;
        }
        text.push(c);
    }
    text.truncate(text.trim_end().len());
    text
}
