//! The words of a text, as it is read.

use std::io::{BufRead, ErrorKind};

use sortie_guest::Failure;

/// The most characters of a word. A longer run of letters is none, and is left out: text without
/// any spaces would otherwise be held as a whole.
pub(crate) const WORD_CHARS_MAX: usize = 64;
/// The most bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// Call `found` with each word of a text, in small letters.
///
/// # Errors
/// When the text cannot be read, or is not UTF-8.
pub(crate) fn for_each(mut text: impl BufRead, found: impl FnMut(&str)) -> Result<(), Failure> {
    let mut words = Words::new(found);
    // What of a character was read when a piece ended.
    let mut cut = Vec::new();
    let mut read = 0_u64;
    loop {
        let piece = match text.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let length = piece.len();
        if length == 0 {
            break;
        }
        let taken = if cut.is_empty() {
            let (known, rest) = split(piece, read)?;
            words.take(known);
            cut.extend_from_slice(rest);
            length
        } else {
            // Byte by byte, until the character is whole.
            cut.extend(piece.first());
            let (known, rest) = split(&cut, read.saturating_sub(cut.len() as u64 - 1))?;
            words.take(known);
            let left = rest.len();
            cut.drain(..cut.len() - left);
            1
        };
        text.consume(taken);
        read = read.saturating_add(taken as u64);
    }
    if !cut.is_empty() {
        return Err(not_utf8(read.saturating_sub(cut.len() as u64)));
    }
    words.end();
    Ok(())
}

/// The text at the start of `bytes`, which begin at an offset, and what is cut off of a character
/// at their end.
fn split(bytes: &[u8], offset: u64) -> Result<(&str, &[u8]), Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((text, &[])),
        Err(error) => {
            let (known, rest) = bytes.split_at(error.valid_up_to());
            let known = std::str::from_utf8(known).unwrap_or_default();
            match error.error_len() {
                None if rest.len() < CHAR_BYTES_MAX => Ok((known, rest)),
                _ => Err(not_utf8(offset.saturating_add(known.len() as u64))),
            }
        }
    }
}

fn not_utf8(offset: u64) -> Failure {
    Failure::new(
        "not-utf8",
        format!("the text is not UTF-8: see byte {offset}"),
    )
}

/// Makes words of the characters of a text.
struct Words<F> {
    found: F,
    word: String,
    chars: usize,
    /// An apostrophe, which belongs to the word if a letter follows.
    apostrophe: Option<char>,
}

impl<F: FnMut(&str)> Words<F> {
    fn new(found: F) -> Self {
        Self {
            found,
            word: String::new(),
            chars: 0,
            apostrophe: None,
        }
    }

    fn take(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_alphanumeric() {
                if let Some(apostrophe) = self.apostrophe.take() {
                    self.push(apostrophe);
                }
                c.to_lowercase().for_each(|c| self.push(c));
            } else if matches!(c, '\'' | '’') && self.chars > 0 && self.apostrophe.is_none() {
                self.apostrophe = Some('\'');
            } else {
                self.end();
            }
        }
    }

    fn push(&mut self, c: char) {
        self.chars = self.chars.saturating_add(1);
        if self.chars <= WORD_CHARS_MAX {
            self.word.push(c);
        }
    }

    /// The word ends here, if there is one.
    fn end(&mut self) {
        if (1..=WORD_CHARS_MAX).contains(&self.chars) {
            (self.found)(&self.word);
        }
        self.word.clear();
        self.chars = 0;
        self.apostrophe = None;
    }
}
