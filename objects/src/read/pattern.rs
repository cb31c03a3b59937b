//! Patterns: which names they match, byte for byte.
//!
//! `*`, `?` and `[…]` match within one segment between slashes, `**` any number of whole segments.
//! A segment that is empty, as in a key with two slashes, is matched by an empty one or by `**`
//! only. A name that is not UTF-8 is matched as well: each byte that is no part of a character
//! counts as one.

/// Begins where bytes stand that are no characters.
const BYTES: u32 = 0x11_0000;

/// A pattern, in segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This very name.
    Literal(String),
    Wild(Vec<Token>),
    /// Any number of segments, none among them.
    Segments,
    /// Any one segment, also an empty one: what `**` at the end asks for.
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Character(u32),
    /// `?`
    One,
    /// `*`
    Some,
    /// `[…]`, or all but those.
    Class(Vec<(u32, u32)>, Is),
}

/// Whether a class is what it lists, or the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Listed,
    Other,
}

/// The places in a pattern that what was matched so far may have come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places(Vec<usize>);

/// Whether a text has wildcards in it.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut segments = text
            .split('/')
            .map(Segment::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if segments.last() == Some(&Segment::Segments) {
            segments.push(Segment::Any);
        }
        Ok(Self { segments })
    }

    /// The one that matches everything below a folder.
    pub(crate) fn everything() -> Self {
        Self {
            segments: vec![Segment::Segments, Segment::Any],
        }
    }

    /// Where matching begins.
    pub(crate) fn start(&self) -> Places {
        self.reached(vec![0])
    }

    /// Where it comes to by this segment; `descends` says whether `**` may take it for one of
    /// several.
    pub(crate) fn after(&self, places: &Places, name: &[u8], descends: bool) -> Places {
        let units = units(name);
        let mut next = Vec::new();
        for &place in &places.0 {
            match self.segments.get(place) {
                Some(Segment::Segments) if descends => next.push(place),
                Some(segment) if segment.matches(name, &units) => next.push(place + 1),
                Some(_) | None => {}
            }
        }
        self.reached(next)
    }

    /// The names that can come next, if there are few: no folder has to be read for them.
    pub(crate) fn literals(&self, places: &Places) -> Option<Vec<&str>> {
        let names = places
            .0
            .iter()
            .map(|place| match self.segments.get(*place) {
                Some(Segment::Literal(name)) => Some(name.as_str()),
                Some(Segment::Wild(_) | Segment::Segments | Segment::Any) | None => None,
            });
        names.collect()
    }

    /// Whether all of it has been matched.
    pub(crate) fn is_met(&self, places: &Places) -> bool {
        places.0.contains(&self.segments.len())
    }

    /// Whether something can still come.
    pub(crate) fn goes_on(&self, places: &Places) -> bool {
        places.0.iter().any(|place| *place < self.segments.len())
    }

    /// Whether a key matches.
    pub(crate) fn matches(&self, key: &str) -> bool {
        let mut places = self.start();
        for segment in key.split('/') {
            places = self.after(&places, segment.as_bytes(), true);
            if places.0.is_empty() {
                return false;
            }
        }
        self.is_met(&places)
    }

    /// Whether its last segment is empty: it names what ends in a slash.
    pub(crate) fn ends_in_slash(&self) -> bool {
        self.segments.last() == Some(&Segment::Literal(String::new()))
    }

    /// `**` may stand for nothing.
    fn reached(&self, mut places: Vec<usize>) -> Places {
        let mut index = 0;
        while let Some(&place) = places.get(index) {
            if self.segments.get(place) == Some(&Segment::Segments)
                && !places.contains(&(place + 1))
            {
                places.push(place + 1);
            }
            index += 1;
        }
        places.sort_unstable();
        places.dedup();
        Places(places)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "**" {
            return Ok(Self::Segments);
        }
        if text.contains("**") {
            return Err("`**` stands alone between slashes");
        }
        if !is_pattern(text) {
            return Ok(Self::Literal(text.to_owned()));
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::Some,
                '?' => Token::One,
                '[' => class(&mut rest)?,
                other => Token::Character(other.into()),
            });
        }
        Ok(Self::Wild(tokens))
    }

    fn matches(&self, name: &[u8], units: &[u32]) -> bool {
        match self {
            Self::Literal(own) => own.as_bytes() == name,
            Self::Wild(tokens) => !name.is_empty() && fits(tokens, units),
            Self::Any => true,
            Self::Segments => false,
        }
    }
}

/// What stands in brackets, up to and with the one that closes. A bracket that closes is one of
/// them where it comes first.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "a bracket is not closed; a file or key with brackets in its name is meant \
                        by that very name";
    let text = rest.as_str();
    let (inner, is) = match text.strip_prefix('!') {
        Some(inner) => (inner, Is::Other),
        None => (text, Is::Listed),
    };
    let end = inner
        .char_indices()
        .skip(1)
        .find(|(_, character)| *character == ']')
        .map(|(end, _)| end)
        .ok_or(OPEN)?;
    let (inside, after) = inner.split_at_checked(end).ok_or(OPEN)?;
    let mut ranges = Vec::new();
    let mut characters = inside.chars().map(u32::from).peekable();
    while let Some(first) = characters.next() {
        let mut ahead = characters.clone();
        match (ahead.next(), ahead.next()) {
            (Some(hyphen), Some(last)) if hyphen == u32::from('-') => {
                characters = ahead;
                ranges.push((first, last));
            }
            _ => ranges.push((first, first)),
        }
    }
    *rest = after.get(1..).unwrap_or_default().chars();
    Ok(Token::Class(ranges, is))
}

/// Whether tokens match all of a name. Goes back to the last `*` only, which is enough.
fn fits(tokens: &[Token], units: &[u32]) -> bool {
    let (mut token, mut unit) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(token), units.get(unit)) {
            (Some(Token::Some), _) => {
                star = Some((token, unit));
                token += 1;
                continue;
            }
            (Some(one), Some(&value)) if one.is(value) => {
                token += 1;
                unit += 1;
                continue;
            }
            (None, None) => return true,
            (_, None) => return false,
            (_, Some(_)) => {}
        }
        let Some((at, from)) = star else {
            return false;
        };
        star = Some((at, from + 1));
        token = at + 1;
        unit = from + 1;
    }
}

impl Token {
    fn is(&self, value: u32) -> bool {
        match self {
            Self::Character(own) => *own == value,
            Self::One => true,
            Self::Some => false,
            Self::Class(ranges, is) => {
                let listed = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&value));
                listed == (*is == Is::Listed)
            }
        }
    }
}

/// The characters of a name, and the bytes that are none.
fn units(name: &[u8]) -> Vec<u32> {
    let mut units = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        units.extend(chunk.valid().chars().map(u32::from));
        units.extend(chunk.invalid().iter().map(|byte| BYTES + u32::from(*byte)));
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(key)
    }

    #[test]
    fn a_pattern_matches_within_its_segments() {
        for (pattern, key) in [
            ("*.txt", "r.txt"),
            ("*", ".hidden"),
            ("a/*/c?.x", "a/b/cd.x"),
            ("/*.txt", "/r.txt"),
            ("a//*.txt", "a//y.txt"),
            ("**/*.txt", "r.txt"),
            ("**/*.txt", "/r.txt"),
            ("**/*.txt", "a//y.txt"),
            ("a/**", "a/b//c"),
            ("a/**", "a/b/"),
            ("a/**/b", "a/b"),
            ("a/**/**/b", "a/x/y/b"),
            ("*a*b*", "xxaxxbaxxb"),
            ("br[1].txt", "br1.txt"),
            ("[!a-c]x", "dx"),
            ("[]-]", "]"),
            ("[a-]", "-"),
            ("[\u{e9}]?", "\u{e9}\u{1F600}"),
            ("n*", "n\nw\tx"),
            ("*/", "d/"),
        ] {
            assert!(matches(pattern, key), "{pattern} {key:?}");
        }
        for (pattern, key) in [
            ("*.txt", "/r.txt"),
            ("*.txt", "a/r.txt"),
            ("a/*.txt", "a//y.txt"),
            ("d/*", "d/"),
            ("a/**", "a"),
            ("a/**/b", "a/xb"),
            ("?", ""),
            ("br[1].txt", "br[1].txt"),
            ("[!a]", "a"),
            ("a", "a/"),
            ("*b", "ba"),
        ] {
            assert!(!matches(pattern, key), "{pattern} {key:?}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_matched_by_their_bytes() {
        let pattern = Pattern::parse("latin?.txt").unwrap();
        let after = |name: &[u8]| pattern.after(&pattern.start(), name, false);
        assert!(pattern.is_met(&after(b"latin\xe9.txt")));
        assert!(!pattern.is_met(&after(b"latin\xe9\xe9.txt")));
        let literal = Pattern::parse("\u{fffd}").unwrap();
        assert!(!literal.is_met(&literal.after(&literal.start(), b"\xe9", false)));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for text in ["a[", "[]", "[!]", "a**", "**b/c", "***"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_row_of_stars_takes_no_longer_than_the_name_is() {
        let pattern = format!("{}b", "*a".repeat(500));
        assert!(!matches(&pattern, &"a".repeat(1000)));
    }
}
