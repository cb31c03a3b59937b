//! Splits an input into the parts that a target needs, and joins parts to a seed.
//!
//! The first byte chooses what the rest is given to. Parts of bytes have their length in two bytes
//! before them; a length that is too large means the rest. Parts of text are lines.

/// The choice between `count` things that the first byte makes, and the rest.
pub(crate) fn choose(data: &[u8], count: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((first % count, rest))
}

/// The next part, which is taken off; none at the end.
pub(crate) fn part<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (part, rest) = rest.split_at(length);
    *data = rest;
    Some(part)
}

/// The text, and what stands before and behind its first line feed.
pub(crate) fn lines(data: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(data).ok()?.split_once('\n')
}

/// A seed of a choice and what it is given.
pub(crate) fn chosen(choice: u8, rest: &[u8]) -> Vec<u8> {
    [&[choice], rest].concat()
}

/// Parts in one.
pub(crate) fn joined<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).expect("parts of seeds are short");
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}
