//! The functions natively: what is a word, and what adds up.

use std::io::{BufReader, Read};

use super::words::{WORD_CHARS_MAX, for_each};
use super::*;

fn counted(text: &str) -> Vec<(String, u64)> {
    let text = Object::from_bytes("text", text.as_bytes().to_vec());
    count(text).expect("is text").into_iter().collect()
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    let pair = |(word, count): &(&str, u64)| ((*word).to_owned(), *count);
    pairs.iter().map(pair).collect()
}

fn counts(of: &[(&str, u64)]) -> Counts {
    pairs(of).into_iter().collect()
}

#[test]
fn words_are_runs_of_letters_and_digits_in_small_letters() {
    assert_eq!(
        counted("The cat, the CAT: a cat's 2nd\nday. Don’t 'quote' it''s!"),
        pairs(&[
            ("2nd", 1),
            ("a", 1),
            ("cat", 2),
            ("cat's", 1),
            ("day", 1),
            ("don't", 1),
            ("it", 1),
            ("quote", 1),
            ("s", 1),
            ("the", 2),
        ])
    );
    assert_eq!(
        counted("ÄPFEL Äpfel на НА 東京"),
        pairs(&[("äpfel", 2), ("на", 2), ("東京", 1)])
    );
    assert_eq!(counted(""), []);
    assert_eq!(counted(" ' -- ’ \n"), []);
}

#[test]
fn a_run_that_is_too_long_is_no_word() {
    let (long, longer) = ("x".repeat(WORD_CHARS_MAX), "y".repeat(WORD_CHARS_MAX + 1));
    assert_eq!(
        counted(&format!("{longer} {long} z{longer}")),
        pairs(&[(&long, 1)])
    );
}

/// Gives out a few bytes at a time.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(buffer.get_mut(..most).expect("fits"))
    }
}

#[test]
fn characters_that_are_cut_between_pieces_are_whole() {
    let text = "naïve 東京 𝔘nicode ’s end";
    let words = |piece: usize| {
        let mut words = Vec::new();
        let reader = BufReader::with_capacity(piece, Slowly(text.as_bytes(), piece));
        for_each(reader, |word| words.push(word.to_owned())).expect("is text");
        words
    };
    for piece in 1..text.len() {
        assert_eq!(
            words(piece),
            ["naïve", "東京", "𝔘nicode", "s", "end"],
            "{piece}"
        );
    }
}

#[test]
fn what_is_no_text_fails_with_the_place() {
    for (bytes, offset) in [
        (&b"ab\xff"[..], 2),
        (&b"\xe6\x9d"[..], 0),
        (&b"ab\xe6\x9d"[..], 2),
        (&b"\xe6\x9d\xb1 \xe6 "[..], 4),
    ] {
        for piece in 1..=bytes.len() {
            let reader = BufReader::with_capacity(piece, Slowly(bytes, piece));
            let failure = for_each(reader, |_| ()).expect_err("is no text");
            assert_eq!(failure.code(), "not-utf8");
            let message = failure.to_string();
            assert!(
                message.ends_with(&format!("see byte {offset}")),
                "{bytes:x?} by {piece}: {message}"
            );
        }
    }
}

#[test]
fn merging_adds_up_in_any_grouping() {
    let (a, b, c) = (
        counts(&[("x", 1), ("y", 2)]),
        counts(&[("y", 3)]),
        counts(&[("z", u64::MAX), ("x", 1)]),
    );
    let all = counts(&[("x", 2), ("y", 5), ("z", u64::MAX)]);
    assert_eq!(merge(vec![a.clone(), b.clone(), c.clone()]), all);
    assert_eq!(
        merge(vec![merge(vec![a.clone(), b.clone()]), c.clone()]),
        all
    );
    assert_eq!(merge(vec![a, merge(vec![b, c])]), all);
    assert_eq!(merge(Vec::new()), Counts::new());
}

#[test]
fn the_most_frequent_come_first_and_equals_by_the_alphabet() {
    let of = counts(&[("a", 1), ("b", 3), ("c", 1), ("d", 2)]);
    assert_eq!(top(of.clone(), 3), pairs(&[("b", 3), ("d", 2), ("a", 1)]));
    assert_eq!(top(of.clone(), 0), []);
    assert_eq!(top(of, u32::MAX).len(), 4);
}

#[test]
fn what_both_lists_have_is_joined_in_the_order_of_the_first() {
    let joined = both(
        pairs(&[("b", 3), ("a", 2), ("only", 1)]),
        pairs(&[("a", 5), ("b", 4), ("other", 9)]),
    );
    assert_eq!(joined, [("b".into(), 3, 4), ("a".into(), 2, 5)]);
}
