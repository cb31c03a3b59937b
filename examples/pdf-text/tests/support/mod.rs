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

/// A stream object.
pub(crate) fn stream(entries: &str, content: &str) -> String {
    format!(
        "<< {entries} /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    )
}
