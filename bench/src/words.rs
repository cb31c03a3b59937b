//! How well one text has the words of another.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;

/// The words of a text: NFKC, lower case, hyphens at line ends joined, runs of letters and digits;
/// with how often each occurs.
pub fn words(text: &str) -> HashMap<String, u32> {
    let folded: String = text.nfkc().collect::<String>().to_lowercase();
    let joined = folded.replace("-\n", "").replace("\u{ad}", "");
    let mut words = HashMap::new();
    for word in joined
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        *words.entry(word.to_owned()).or_insert(0) += 1;
    }
    words
}

/// Recall and precision of `found` against `reference`; both 1 where there is nothing to find or
/// nothing found.
pub fn score(found: &HashMap<String, u32>, reference: &HashMap<String, u32>) -> (f64, f64) {
    let total = |words: &HashMap<String, u32>| f64::from(words.values().sum::<u32>());
    let common: u32 = reference
        .iter()
        .map(|(word, count)| (*count).min(found.get(word).copied().unwrap_or(0)))
        .sum();
    let part = |whole: f64| {
        if whole == 0.0 {
            1.0
        } else {
            f64::from(common) / whole
        }
    };
    (part(total(reference)), part(total(found)))
}
