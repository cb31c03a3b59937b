//! Whole words in a text, whatever their case.
//!
//! A word's borders are wherever a letter or digit does not continue, so a word may itself contain
//! hyphens, apostrophes or spaces.

/// What is looked for.
pub(crate) struct Word {
    lower_case: String,
}

impl Word {
    /// `None` when there is no letter or digit in it: such a word is at no place, or at every.
    pub(crate) fn new(word: &str) -> Option<Self> {
        let word = word.trim();
        word.contains(char::is_alphanumeric).then(|| Self {
            lower_case: word.to_lowercase(),
        })
    }

    /// How many times the word is in `text`.
    pub(crate) fn count_in(&self, text: &str) -> u64 {
        let text = text.to_lowercase();
        let whole = text
            .match_indices(&self.lower_case)
            .filter(|(start, found)| is_whole(&text, *start, found.len()));
        whole.count() as u64
    }
}

fn is_whole(text: &str, start: usize, len: usize) -> bool {
    let before = text
        .get(..start)
        .and_then(|before| before.chars().next_back());
    let after = text
        .get(start + len..)
        .and_then(|after| after.chars().next());
    ![before, after]
        .into_iter()
        .flatten()
        .any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(word: &str, text: &str) -> u64 {
        Word::new(word).expect("is a word").count_in(text)
    }

    #[test]
    fn a_word_is_found_in_any_case() {
        assert_eq!(count("Graph", "graph GRAPH Graph"), 3);
        assert_eq!(count("straße", "STRAßE, Straße"), 2);
        assert_eq!(count("ÉTALE", "étale"), 1);
    }

    #[test]
    fn a_word_is_found_only_as_a_whole() {
        assert_eq!(
            count(
                "graph",
                "graphs paragraph graph2 graph-based (graph) graph."
            ),
            3
        );
        assert_eq!(count("a", "a aa a"), 2);
    }

    #[test]
    fn a_word_may_hold_more_than_letters() {
        assert_eq!(
            count(
                " state-of-the-art ",
                "The state-of-the-art, not state-of-the-artist"
            ),
            1
        );
        assert_eq!(count("3.5", "3.5 3.55 13.5"), 1);
    }

    #[test]
    fn a_word_without_a_letter_or_digit_is_none() {
        assert!(
            ["", " ", "-", "..."]
                .iter()
                .all(|word| Word::new(word).is_none())
        );
    }
}
