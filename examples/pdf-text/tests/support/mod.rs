//! What the integration tests share: the score that compares a text with a reference, and PDFs made
//! by hand.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;

use unicode_normalization::UnicodeNormalization;

/// How much of a reference a text has, and how much of the text is in the reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) words: usize,
    pub(crate) recall: f64,
    pub(crate) precision: f64,
    /// Recall of pairs of neighbouring words: sees reading order and spaces.
    pub(crate) pairs: f64,
}

impl Score {
    pub(crate) fn of(text: &str, reference: &str) -> Self {
        let (found, wanted) = (words(text), words(reference));
        let common = common(&found, &wanted);
        let pairs = |words: &[String]| {
            words
                .iter()
                .cloned()
                .zip(words.iter().skip(1).cloned())
                .collect::<Vec<_>>()
        };
        let (found_pairs, wanted_pairs) = (pairs(&found), pairs(&wanted));
        Self {
            words: wanted.len(),
            recall: share(common, wanted.len()),
            precision: share(common, found.len()),
            pairs: share(
                self::common(&found_pairs, &wanted_pairs),
                wanted_pairs.len(),
            ),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "words are counted in thousands")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Runs of letters and digits, compatibility forms and case taken away, words that are broken at
/// the end of a line joined.
fn words(text: &str) -> Vec<String> {
    let text: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let mut joined = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        match bare.strip_suffix(['-', '\u{2010}', '\u{ad}']) {
            Some(start) if start.ends_with(char::is_alphanumeric) => joined.push_str(start),
            _ => joined.push_str(line),
        }
    }
    joined
        .split(|c: char| !c.is_alphanumeric() && !unicode_normalization::char::is_combining_mark(c))
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// How many items two lists share, each counted as often as it is in both.
fn common<T: Hash + Eq>(a: &[T], b: &[T]) -> usize {
    let mut counts: HashMap<&T, usize> = HashMap::new();
    for item in a {
        *counts.entry(item).or_default() += 1;
    }
    let take = |count: &mut usize| count.checked_sub(1).map(|left| *count = left).is_some();
    b.iter()
        .filter(|item| counts.get_mut(item).is_some_and(take))
        .count()
}

/// A PDF of the given objects, numbered from 1; the first is the catalog.
pub(crate) fn pdf(objects: &[String]) -> Vec<u8> {
    let mut file = String::from("%PDF-1.7\n");
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(objects) {
        offsets.push(file.len());
        let _ = write!(file, "{number} 0 obj\n{object}\nendobj\n");
    }
    let start = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ = write!(
        file,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    );
    file.into_bytes()
}

/// A PDF of one page with this content, Helvetica as `/F`, and further objects from number 5 on.
/// `resources` goes into its resource dictionary.
pub(crate) fn page(content: &str, resources: &str, further: &[String]) -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R \
             /Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> \
             {resources} >> >>"
        ),
        stream("", content),
    ];
    objects.extend_from_slice(further);
    pdf(&objects)
}

/// The catalog and the page tree with these kids, and further objects from number 3 on.
pub(crate) fn pages(kids: &str, further: &[String]) -> Vec<String> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Kids [{kids}] /Count {} >>",
            kids.matches('R').count()
        ),
    ];
    objects.extend_from_slice(further);
    objects
}

/// A page with Helvetica as `/F` and these entries.
pub(crate) fn content_page(entries: &str) -> String {
    format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F << /Type \
         /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> {entries} >>"
    )
}

/// A stream with a TrueType font of empty glyphs, whose map of one platform and encoding takes
/// these codes to glyphs.
pub(crate) fn true_type(platform: u16, encoding: u16, map: &[(u16, u16)]) -> String {
    let glyphs = map.iter().map(|&(_, glyph)| glyph).max().unwrap_or(0) + 1;
    let words = |words: &[u16]| {
        words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<u8>>()
    };
    // Format 4, a segment for each code.
    let count = u16::try_from(map.len() + 1).unwrap_or(1);
    let codes: Vec<u16> = map.iter().map(|&(code, _)| code).chain([0xffff]).collect();
    let deltas: Vec<u16> = map
        .iter()
        .map(|&(code, glyph)| glyph.wrapping_sub(code))
        .chain([1])
        .collect();
    let mut subtable = vec![4, 16 + 8 * count, 0, 2 * count, 0, 0, 0];
    subtable.extend(
        codes
            .iter()
            .copied()
            .chain([0])
            .chain(codes.iter().copied()),
    );
    subtable.extend(
        deltas
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, usize::from(count))),
    );
    let mut cmap = vec![0, 1, platform, encoding, 0, 12];
    cmap.extend(subtable);
    let head = [
        1, 0, 1, 0, 0, 0, 0x5f0f, 0x3cf5, 0, 1000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1000, 1000, 0, 8,
        2, 0, 0,
    ];
    let mut hhea = [0; 18];
    (hhea[0], hhea[2], hhea[17]) = (1, 800, glyphs);
    let mut maxp = [0; 16];
    (maxp[0], maxp[2]) = (1, glyphs);
    let tables: [(&[u8; 4], Vec<u8>); 7] = [
        (b"cmap", words(&cmap)),
        (b"glyf", vec![0; 4]),
        (b"head", words(&head)),
        (b"hhea", words(&hhea)),
        (b"hmtx", words(&[500, 0].repeat(usize::from(glyphs)))),
        (b"loca", words(&vec![0; usize::from(glyphs) + 1])),
        (b"maxp", words(&maxp)),
    ];
    let mut file = words(&[1, 0, 7, 64, 2, 48]);
    let mut data: Vec<u8> = Vec::new();
    for (tag, table) in &tables {
        file.extend_from_slice(*tag);
        let place = 12 + 16 * tables.len() + data.len();
        for number in [0, place, table.len()] {
            file.extend(u32::try_from(number).unwrap_or(0).to_be_bytes());
        }
        data.extend_from_slice(table);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    file.extend(data);
    let digits: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    stream("/Filter /ASCIIHexDecode", &digits)
}

/// A stream object.
pub(crate) fn stream(entries: &str, content: &str) -> String {
    format!(
        "<< {entries} /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    )
}
