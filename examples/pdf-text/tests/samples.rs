//! The two functions over the sample documents: real producers, and the text that a reader sees
//! beside each.

mod support;

use std::error::Error;
use std::path::PathBuf;

use pdf_text::{Document, count_words, extract};
use sortie_guest::{Failure, Object, Retry};
use support::Score;

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(name)
}

fn run(name: &str) -> Result<Document, Failure> {
    extract(Object::open(sample(&format!("{name}.pdf")))?)
}

fn expected(name: &str) -> std::io::Result<String> {
    std::fs::read_to_string(sample(&format!("{name}.txt")))
}

#[track_caller]
fn check(name: &str) -> Result<Document, Box<dyn Error>> {
    let document = run(name)?;
    let score = Score::of(&document.text, &expected(name)?);
    assert!(
        score.recall >= 0.99 && score.precision >= 0.98 && score.pairs >= 0.97,
        "{name}: {score:?}\n{}",
        document.text
    );
    Ok(document)
}

/// For scripts without spaces: all characters, in their order.
#[track_caller]
fn check_characters(name: &str) -> Result<(), Box<dyn Error>> {
    let bare = |text: &str| {
        text.chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    assert_eq!(bare(&run(name)?.text), bare(&expected(name)?));
    Ok(())
}

#[test]
fn text_of_common_producers_is_whole() -> Result<(), Box<dyn Error>> {
    for name in [
        "groff-report",
        "latex-article",
        "libreoffice-letter",
        "browser-page",
        "cairo-poster",
    ] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn bitmap_fonts_without_names_are_read() -> Result<(), Box<dyn Error>> {
    check("dvips-type3").map(drop)
}

#[test]
fn columns_are_read_one_after_the_other() -> Result<(), Box<dyn Error>> {
    check("latex-twocolumn").map(drop)
}

#[test]
fn right_to_left_scripts_are_read_in_logical_order() -> Result<(), Box<dyn Error>> {
    check("arabic")?;
    check("hebrew").map(drop)
}

#[test]
fn vertical_japanese_is_read_down_and_to_the_left() -> Result<(), Box<dyn Error>> {
    check_characters("japanese-vertical")?;
    check_characters("japanese-cmap")
}

#[test]
fn turned_pages_are_read_and_what_lies_outside_the_page_is_not() -> Result<(), Box<dyn Error>> {
    check("rotated").map(drop)
}

#[test]
fn the_document_says_what_it_is() -> Result<(), Box<dyn Error>> {
    let document = run("groff-report")?;
    assert_eq!(
        document.title.as_deref(),
        Some("Field Notes on Bounded Queues")
    );
    assert_eq!(document.author.as_deref(), Some("Sortie contributors"));
    assert!(
        document
            .producer
            .is_some_and(|producer| producer.contains("gropdf"))
    );
    assert_eq!((document.pages, document.damaged), (3, Vec::new()));
    assert_eq!(document.text.matches('\u{c}').count(), 2);
    Ok(())
}

#[test]
fn a_document_that_needs_no_password_is_read() -> Result<(), Box<dyn Error>> {
    check("encrypted-owner").map(drop)
}

#[test]
fn documents_without_text_say_why_and_are_not_worth_a_retry() {
    for (name, code) in [
        ("encrypted", "encrypted"),
        ("damaged", "damaged"),
        ("scanned", "scanned"),
    ] {
        let failure = run(name).err();
        assert_eq!(
            failure
                .as_ref()
                .map(|failure| (failure.code(), failure.retry())),
            Some((code, Retry::Never)),
            "{failure:?}"
        );
    }
}

#[test]
fn words_are_counted() -> Result<(), Box<dyn Error>> {
    let words = count_words(Object::open(sample("groff-report.pdf"))?)?;
    let expected = expected("groff-report")?.split_whitespace().count() as u64;
    assert!(
        words.abs_diff(expected) * 50 < expected,
        "{words} words, {expected} expected"
    );
    Ok(())
}
