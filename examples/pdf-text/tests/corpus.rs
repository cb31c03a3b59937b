//! Scores over a corpus of real documents, against poppler's `pdftotext`.
//!
//! Runs when the variable `SORTIE_CORPUS` names a folder that holds a folder `pdf` and `pdftotext`
//! can be started; otherwise it says so and passes. Poppler is a reference, not the truth: it drops
//! some ligatures and splits spaced words.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use pdf_text::extract;
use sortie_guest::Object;
use support::Score;

/// Files with fewer words say little.
const WORDS_MIN: usize = 20;

fn pdfs(corpus: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(corpus.join("pdf"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pdf"));
    files.sort();
    Ok(files)
}

fn reference(file: &Path) -> Option<String> {
    let output = Command::new("pdftotext")
        .args(["-enc", "UTF-8"])
        .arg(file)
        .arg("-")
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a corpus has fewer than 2^52 files"
)]
fn mean(scores: &[Score], of: fn(&Score) -> f64) -> f64 {
    scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64
}

fn median(scores: &[Score], of: fn(&Score) -> f64) -> f64 {
    let mut values: Vec<f64> = scores.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[test]
fn scores_over_the_corpus_are_met() -> Result<(), Box<dyn Error>> {
    let corpus = std::env::var_os("SORTIE_CORPUS").map(PathBuf::from);
    let has_reference = Command::new("pdftotext").arg("-v").output().is_ok();
    let Some(corpus) = corpus.filter(|_| has_reference) else {
        println!("skipped: it needs SORTIE_CORPUS (a folder with pdf/ in it) and pdftotext");
        return Ok(());
    };
    let mut scores = Vec::new();
    println!("recall precision  pairs  words  file");
    for file in pdfs(&corpus)? {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match extract(Object::open(&file)?) {
            Ok(document) => {
                let score = Score::of(&document.text, &reference(&file).ok_or("pdftotext failed")?);
                println!(
                    "{:.4}    {:.4} {:.4} {:6}  {name}",
                    score.recall, score.precision, score.pairs, score.words
                );
                scores.push(score);
            }
            Err(failure) => {
                println!("{failure}  {name}");
                let words = reference(&file).map_or(0, |text| Score::of("", &text).words);
                assert!(
                    words < WORDS_MIN,
                    "{name} failed with {failure}, and pdftotext finds {words} words"
                );
            }
        }
    }
    scores.retain(|score| score.words >= WORDS_MIN);
    let (recall, precision, pairs) = (
        mean(&scores, |s| s.recall),
        mean(&scores, |s| s.precision),
        mean(&scores, |s| s.pairs),
    );
    let middle = median(&scores, |s| s.recall);
    println!(
        "{} files: recall mean {recall:.4}, median {middle:.4}; precision mean {precision:.4}; \
         pairs mean {pairs:.4}",
        scores.len()
    );
    assert!(middle >= 0.995 && recall >= 0.98 && precision >= 0.985 && pairs >= 0.975);
    Ok(())
}
