//! Rules of the content interpreter, on small documents made by hand.

mod support;

use pdf_text::document::{Error, read};
use support::{page, pdf, stream};

#[track_caller]
fn check(content: &str, expected: &str) {
    check_with(content, "", &[], expected);
}

#[track_caller]
fn check_with(content: &str, resources: &str, further: &[String], expected: &str) {
    assert_eq!(
        read(page(content, resources, further))
            .map(|document| document.text)
            .as_deref(),
        Ok(expected)
    );
}

#[test]
fn every_operator_that_shows_text_shows_it() {
    check(
        "BT /F 10 Tf 14 TL 50 700 Td (one) Tj T* [(t) -20 (wo)] TJ (three) ' 0 0 (four) \" ET",
        "one\ntwo\nthree\nfour",
    );
}

#[test]
fn word_gaps_come_from_adjustments_too() {
    check(
        "BT /F 10 Tf 50 700 Td [(two) -300 (words)] TJ ET",
        "two words",
    );
}

#[test]
fn text_outside_the_page_is_dropped() {
    check("BT /F 10 Tf 50 700 Td (in) Tj 0 900 Td (out) Tj ET", "in");
}

#[test]
fn replacement_text_replaces() {
    check(
        "BT /F 10 Tf 50 700 Td /Span << /ActualText (office) >> BDC (o#ce) Tj EMC ET",
        "office",
    );
    check(
        "BT /F 10 Tf 50 700 Td (a) Tj /Span << /ActualText () >> BDC (-) Tj EMC (b) Tj ET",
        "a b",
    );
}

#[test]
fn hidden_layers_are_not_read() {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R /OCProperties << /OCGs [5 0 R] /D << /OFF [5 0 R] >> >> \
         >>"
        .to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << \
         /Properties << /L 5 0 R >> >> >>"
            .to_owned(),
        stream(
            "",
            "BT /F 10 Tf 50 700 Td (seen) Tj /OC /L BDC (unseen) Tj /X BMC (inner) Tj EMC \
                    EMC ET",
        ),
        "<< /Type /OCG /Name (layer) >>".to_owned(),
    ];
    assert_eq!(
        read(pdf(&objects)).map(|document| document.text).as_deref(),
        Ok("seen")
    );
}

#[test]
fn forms_are_read_and_restore_the_state() {
    let form = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Matrix [1 0 0 1 0 -12]",
        "q q BT /F 10 Tf 50 700 Td (form) Tj ET",
    );
    check_with(
        "BT /F 10 Tf 50 700 Td (page) Tj ET /X Do",
        "/XObject << /X 5 0 R >>",
        &[form],
        "page\nform",
    );
}

#[test]
fn forms_that_multiply_are_stopped() {
    // It draws itself twice, to a depth where that would be millions of times.
    let form = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 9 9]",
        "/X Do /X Do",
    );
    let result = read(page("/X Do", "/XObject << /X 5 0 R >>", &[form]));
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
}

#[test]
fn many_markers_of_a_plot_are_no_burden() {
    let marker = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 9 9]",
        "0 0 m 5 5 l S",
    );
    let content = format!(
        "{} BT /F 10 Tf 50 700 Td (plot) Tj ET",
        "q 1 0 0 1 5 5 cm /X Do Q ".repeat(100_000)
    );
    check_with(&content, "/XObject << /X 5 0 R >>", &[marker], "plot");
}

#[test]
fn too_many_glyphs_on_a_page_are_refused() {
    // Each is drawn over the one before, so that all are on the page.
    let content = format!(
        "BT /F 10 Tf -5 Tc 50 700 Td ({}) Tj ET",
        "x".repeat(1_000_001)
    );
    let result = read(page(&content, "", &[]));
    assert!(
        matches!(
            result,
            Err(Error::TooLarge {
                what: "glyphs on one page",
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn unbalanced_states_do_no_harm() {
    let content = format!(
        "{} BT /F 10 Tf 50 700 Td (text) Tj ET {}",
        "q ".repeat(100_000),
        "Q ".repeat(200_000)
    );
    check(&content, "text");
}

#[test]
fn an_empty_page_is_an_empty_text_and_not_scanned() {
    check("", "");
}

#[test]
fn a_document_with_fewer_pages_than_it_says_is_damaged() {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R 9 0 R] /Count 2 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>".to_owned(),
    ];
    assert_eq!(
        read(pdf(&objects)),
        Err(Error::Damaged("1 of its 2 pages can be read".into()))
    );
}

#[test]
fn what_is_no_pdf_is_damaged() {
    for bytes in [&b""[..], b"%PDF-1.7", b"hello", b"\x7fELF\x02\x01"] {
        assert!(matches!(read(bytes.to_vec()), Err(Error::Damaged(_))));
    }
}

#[test]
fn a_form_cannot_close_what_the_page_opened() {
    let form = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 600 800]",
        "Q Q EMC EMC 5 0 0 5 0 0 cm",
    );
    let content = "q 1 0 0 1 0 -12 cm /Span << /ActualText (real) >> BDC BT /F 10 Tf 50 700 Td \
                   (un) Tj ET /X Do \
                   BT /F 10 Tf 60 700 Td (real) Tj ET EMC Q BT /F 10 Tf 50 700 Td (above) Tj ET";
    check_with(content, "/XObject << /X 5 0 R >>", &[form], "real\n\nabove");
}
