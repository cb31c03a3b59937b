//! The scan over archives built in memory, natively: what it finds, what it skips, what it refuses.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A PDF of one page that shows `text`, set in one of the fonts that every reader has.
fn pdf(text: &str) -> Vec<u8> {
    let content = format!("BT /F 12 Tf 72 720 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(file.len());
        write!(file, "{number} 0 obj\n{object}\nendobj\n").expect("writes");
    }
    let table = file.len();
    write!(file, "xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).expect("writes");
    for offset in &offsets {
        writeln!(file, "{offset:010} 00000 n ").expect("writes");
    }
    write!(file, "trailer << /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", offsets.len() + 1).expect("writes");
    file
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).expect("appends");
    }
    builder.into_inner().expect("finishes")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("compresses")
}

fn scan_bytes(bytes: Vec<u8>, word: &str) -> Result<Vec<Finding>, Failure> {
    scan(Object::from_bytes("papers.tar", bytes), word.to_owned())
}

fn read(file: &str, count: u64) -> Finding {
    Finding::Read { file: file.to_owned(), pages: 1, contains: count > 0, count }
}

fn skipped(file: &str, error: &str) -> Finding {
    Finding::Skipped { file: file.to_owned(), error: error.to_owned() }
}

#[test]
fn every_pdf_is_read_in_order_and_nothing_else() {
    let papers = archive(&[
        ("2301/a.pdf", &pdf("A graph is not many graphs")),
        ("2301/readme.txt", b"graph graph graph"),
        ("2301/B.PDF", &pdf("Nothing of the kind")),
        ("2301/c.pdf", &pdf("Graph (graph), graph-based")),
    ]);
    let expected = vec![read("2301/a.pdf", 1), read("2301/B.PDF", 0), read("2301/c.pdf", 3)];
    assert_eq!(scan_bytes(papers.clone(), "graph"), Ok(expected.clone()));
    assert_eq!(scan_bytes(gzip(&papers), "graph"), Ok(expected));
}

#[test]
fn a_damaged_pdf_is_a_finding_and_the_scan_goes_on() {
    let papers = archive(&[("a.pdf", b"no PDF at all"), ("empty.pdf", b""), ("b.pdf", &pdf("a graph"))]);
    let expected = vec![skipped("a.pdf", "damaged"), skipped("empty.pdf", "damaged"), read("b.pdf", 1)];
    assert_eq!(scan_bytes(papers, "graph"), Ok(expected));
}

#[test]
fn an_encrypted_pdf_is_a_finding_and_real_ones_are_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pdf-text/samples");
    let sample = |name| fs::read(samples.join(name)).expect("the sample is there");
    let papers = archive(&[("locked.pdf", &sample("encrypted.pdf")), ("latex.pdf", &sample("latex-article.pdf"))]);
    let findings = scan_bytes(papers, "the").expect("scans");
    assert_eq!(findings.first(), Some(&skipped("locked.pdf", "encrypted")));
    assert!(matches!(findings.last(), Some(Finding::Read { contains: true, .. })), "{findings:?}");
}

#[test]
fn a_pdf_over_the_limit_is_skipped() {
    let large = vec![0; usize::try_from(archive::MEMBER_BYTES_MAX).expect("fits") + 1];
    let papers = archive(&[("large.pdf", &large), ("b.pdf", &pdf("a graph"))]);
    assert_eq!(scan_bytes(papers, "graph"), Ok(vec![skipped("large.pdf", "too-large"), read("b.pdf", 1)]));
}

#[test]
fn long_paths_are_whole() {
    let path = format!("{}/a.pdf", "x".repeat(200));
    assert_eq!(scan_bytes(archive(&[(&path, &pdf("a graph"))]), "graph"), Ok(vec![read(&path, 1)]));
}

#[test]
fn an_empty_archive_has_no_findings() {
    assert_eq!(scan_bytes(archive(&[]), "graph"), Ok(Vec::new()));
}

#[test]
fn an_archive_that_cannot_be_read_fails_the_task() {
    let papers = archive(&[("a.pdf", &pdf("a graph")), ("b.pdf", &pdf("a graph"))]);
    let check = |bytes: Vec<u8>| assert_eq!(scan_bytes(bytes, "graph").expect_err("is damaged").code(), "damaged");
    check(b"this is no tar".repeat(100));
    check(papers[..700].to_vec());
    check(gzip(&papers)[..200].to_vec());
    let mut corrupted = gzip(&papers);
    corrupted[40..80].fill(0xff);
    check(corrupted);
}

#[test]
fn a_word_without_letters_fails_the_task_before_anything_is_read() {
    assert_eq!(scan_bytes(b"no tar".to_vec(), " - ").expect_err("is no word").code(), "bad-word");
}

#[test]
fn only_this_crates_function_is_offered() {
    let names: Vec<_> = sortie_guest::testing::describe().expect("names are unique").into_iter().map(|signature| signature.name).collect();
    assert_eq!(names, ["scan"]);
}
