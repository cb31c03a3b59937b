//! Rules of the content interpreter, on small documents made by hand.

mod support;

use pdf_text::Error;
use pdf_text::document::read;
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

#[test]
fn a_bad_token_ends_no_more_than_the_array_or_string_it_is_in() {
    check(
        "BT /F 10 Tf 50 700 Td (before) Tj 0 -12 Td [(a)-71b)-7(c)] TJ 0 -12 Td (after) Tj ET",
        "before\nac\nafter",
    );
    check(
        "BT /F 10 Tf 50 700 Td ) ] > (a) Tj 0 -12 Td [(b) -7 (c) TJ 0 -12 Td (d) Tj ET",
        "a\nbc\nd",
    );
    check(
        "BT /F 10 Tf 50 700 Td (an (open) Tj 0 -12 Td (after) Tj ET",
        "an (open\nafter",
    );
}

#[test]
fn odd_numbers_are_read_as_viewers_read_them() {
    check(
        "BT /F 10 Tf 50 700 Td (Glued)Tj 0 -14Td(tokens)Tj ET",
        "Glued\ntokens",
    );
    check(
        "BT /F --12 Tf 150 700 Td (odd numbers) Tj ET",
        "odd numbers",
    );
    check("BT /F . Tf 50 700 Td (no size) Tj ET", "no size");
}

#[test]
fn a_form_finds_what_only_the_page_around_it_has() {
    let outer = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources << /XObject << /Z 6 0 R >> \
         >>",
        "BT /F 10 Tf 50 688 Td (outer) Tj ET /Y Do",
    );
    let inner = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 600 800]",
        "BT /F 10 Tf 50 676 Td (inner) Tj ET",
    );
    check_with(
        "BT /F 10 Tf 50 700 Td (page) Tj ET /X Do",
        "/XObject << /X 5 0 R /Y 6 0 R >>",
        &[outer, inner],
        "page\nouter\ninner",
    );
}

#[test]
fn a_crop_box_beside_the_page_crops_nothing() {
    let file = page("BT /F 10 Tf 50 700 Td (seen) Tj ET", "", &[]);
    let file = String::from_utf8_lossy(&file).replace(
        "/MediaBox [0 0 600 800]",
        "/MediaBox [0 0 600 800] /CropBox [900 900 999 999]",
    );
    let text = read(file.into_bytes()).map(|document| document.text);
    assert_eq!(text.as_deref(), Ok("seen"));
}

#[test]
fn character_spacing_is_not_taken_for_spaces() {
    check(
        "BT /F 12 Tf 2 Tc 50 700 Td (PART) Tj 0 Tc 0 -20 Td (ordinary text) Tj 2 Tc 0 -20 Td (TWO) \
         Tj ET",
        "PART\nordinary text\nTWO",
    );
}

#[test]
fn words_placed_one_by_one_stay_apart_beside_drawn_spaces() {
    let words = [
        "with history of",
        "diabetes",
        "and",
        "of",
        "others with",
        "some",
    ];
    let mut content = String::from("BT /F 10 Tf ");
    // Helvetica's widths, with gaps of 0.19 em.
    let widths = [66.71, 38.36, 16.68, 8.34, 48.91, 23.89];
    let mut x = 40.0;
    for (word, width) in words.iter().zip(widths) {
        content.push_str(&format!("1 0 0 1 {x:.2} 700 Tm ({word}) Tj "));
        x += width + 1.9;
    }
    content.push_str("ET");
    check(&content, "with history of diabetes and of others with some");
}

#[test]
fn text_drawn_again_for_bold_or_shadow_is_there_once() {
    let title = |x: f32, y: f32, text: &str| format!("BT /F 12 Tf {x} {y} Td ({text}) Tj ET ");
    for (dx, dy) in [(0.3, 0.0), (1.0, 1.0), (0.0, -0.4), (2.5, -2.5)] {
        let content = [
            title(50.0, 700.0, "Heading Words"),
            title(50.0 + dx, 700.0 + dy, "Heading Words"),
            title(50.0 + dx / 2.0, 700.0 + dy / 2.0, "Heading Words"),
            title(50.0, 680.0, "body"),
        ]
        .concat();
        check(&content, "Heading Words\nbody");
    }
    // Only a word of the line is drawn again, and a short one at that.
    let content = [title(50.0, 700.0, "il bello"), title(50.3, 700.0, "il")].concat();
    check(&content, "il bello");
    let short = [title(50.0, 700.0, "il"), title(50.3, 700.0, "il")].concat();
    check(&short, "il");
}
