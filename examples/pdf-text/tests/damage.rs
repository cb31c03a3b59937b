//! Documents of which a part is lost: what can be read is given, and what cannot is listed by page.

mod support;

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_text::Error;
use pdf_text::document::{Document, read};
use support::{content_page, pages, pdf, stream};

/// The text of a document, and its damage as `PAGE: REASON`.
fn outcome(objects: &[String]) -> Result<(String, Vec<String>), Error> {
    read(pdf(objects)).map(|Document { text, damaged, .. }| {
        let damaged = damaged
            .into_iter()
            .map(|damage| format!("{}: {}", damage.page.unwrap_or(0), damage.reason));
        (text, damaged.collect())
    })
}

#[track_caller]
fn check(objects: &[String], text: &str, damaged: &[&str]) {
    let damaged = damaged.iter().map(|&reason| reason.to_owned()).collect();
    assert_eq!(outcome(objects), Ok((text.to_owned(), damaged)));
}

fn shows(text: &str) -> String {
    stream("", &format!("BT /F 10 Tf 50 700 Td ({text}) Tj ET"))
}

/// The data of a stream, compressed and then written in hexadecimal digits.
fn packed(content: &str) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let _ = encoder.write_all(content.as_bytes());
    let bytes = encoder.finish().unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PACKED: &str = "/Filter [/ASCIIHexDecode /FlateDecode]";

#[test]
fn a_page_without_its_content_does_not_cost_the_others() {
    check(
        &pages(
            "3 0 R 4 0 R 5 0 R",
            &[
                content_page("/Contents 6 0 R"),
                content_page("/Contents 88 0 R"),
                content_page("/Contents [7 0 R 89 0 R]"),
                shows("one"),
                shows("three"),
            ],
        ),
        "one\u{c}\u{c}three",
        &[
            "2: its content: object 88 is missing",
            "3: its content: object 89 is missing",
        ],
    );
}

#[test]
fn a_document_fails_only_when_none_of_its_pages_can_be_read() {
    let lost = pages(
        "3 0 R 4 0 R",
        &[
            content_page("/Contents 88 0 R"),
            content_page("/Contents 88 0 R"),
        ],
    );
    assert_eq!(
        outcome(&lost),
        Err(Error::Damaged(
            "none of its 2 pages can be read, such as page 1: its content: object 88 is missing"
                .into()
        ))
    );
    let blank = pages(
        "3 0 R 4 0 R",
        &[content_page("/Contents 88 0 R"), content_page("")],
    );
    check(&blank, "\u{c}", &["1: its content: object 88 is missing"]);
}

#[test]
fn content_that_is_cut_off_is_read_to_the_cut_and_listed() {
    let lines: String = (0..200)
        .map(|line| format!("(line {}) ' ", line * 7919 % 10007))
        .collect();
    let data = packed(&format!("BT /F 10 Tf 3 TL 50 790 Td {lines} ET"));
    let whole = pages(
        "3 0 R",
        &[content_page("/Contents 4 0 R"), stream(PACKED, &data)],
    );
    let cut = pages(
        "3 0 R",
        &[
            content_page("/Contents 4 0 R"),
            stream(PACKED, &data[..data.len() / 2]),
        ],
    );
    let (whole, none) = outcome(&whole).unwrap();
    let (cut, damaged) = outcome(&cut).unwrap();
    assert_eq!((none, whole.matches("line").count()), (Vec::new(), 200));
    assert_eq!(damaged, ["1: its content (object 4): its data is cut off"]);
    let kept = &cut[..cut.rfind('\n').unwrap_or(0)];
    assert!(
        kept.matches("line").count() > 50 && whole.starts_with(kept),
        "{cut}"
    );
}

#[test]
fn damage_inside_forms_fonts_and_appearances_is_listed() {
    let form = stream(
        &format!("/Type /XObject /Subtype /Form /BBox [0 0 600 800] {PACKED}"),
        &packed("BT /F 10 Tf 50 650 Td (form) Tj ET")[..24],
    );
    check(
        &pages(
            "3 0 R",
            &[
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Annots \
                 [6 0 R 77 0 R] /Resources << /Font << /F 88 0 R >> /XObject << /X 5 0 R /Y 99 0 R \
                 >> >> >>"
                    .into(),
                stream("", "BT /F 10 Tf 50 700 Td (text) Tj ET /X Do /Y Do"),
                form,
                "<< /Type /Annot /Subtype /Stamp /Rect [0 0 9 9] /AP << /N 66 0 R >> >>".into(),
            ],
        ),
        "text",
        &[
            "1: its font `F`: object 88 is missing",
            "1: its form (object 5): its data is cut off",
            "1: its form or image `Y`: object 99 is missing",
            "1: the appearance of its annotation: object 66 is missing",
            "1: its annotation (object 77) is missing",
        ],
    );
}

#[test]
fn a_filter_that_is_not_supported_is_named() {
    check(
        &pages(
            "3 0 R 4 0 R",
            &[
                content_page("/Contents 5 0 R"),
                content_page("/Contents 6 0 R"),
                shows("one"),
                stream("/Filter /BrotliDecode", "BT /F 10 Tf 50 700 Td (x) Tj ET"),
            ],
        ),
        "one\u{c}",
        &["2: its content (object 6): its filter `BrotliDecode` is not supported"],
    );
}

#[test]
fn every_listing_of_a_page_is_a_page() {
    check(
        &pages(
            "3 0 R 4 0 R 3 0 R 3 0 R",
            &[
                content_page("/Contents 5 0 R"),
                content_page("/Contents 6 0 R"),
                shows("divider"),
                shows("text"),
            ],
        ),
        "divider\u{c}text\u{c}divider\u{c}divider",
        &[],
    );
}

#[test]
fn a_wrong_count_nulls_and_empty_arrays_are_no_damage() {
    let mut objects = pages(
        "null 3 0 R 7 0 R",
        &[
            content_page("/Contents [null 4 0 R 7 0 R [5 0 R] []]"),
            shows("one"),
            stream("", "BT /F 10 Tf 50 680 Td (two) Tj ET"),
            content_page("/Contents []"),
            "null".into(),
        ],
    );
    objects[1] = objects[1].replace("/Count 1", "/Count 12");
    check(&objects, "one\ntwo", &[]);
}

#[test]
fn a_page_that_is_gone_keeps_its_place() {
    check(
        &pages(
            "3 0 R 88 0 R 4 0 R",
            &[
                content_page("/Contents 5 0 R"),
                content_page("/Contents 6 0 R"),
                shows("one"),
                shows("three"),
            ],
        ),
        "one\u{c}\u{c}three",
        &["2: object 88 of the page tree is missing"],
    );
}

#[test]
fn nodes_inside_themselves_are_skipped() {
    check(
        &pages(
            "5 0 R 3 0 R",
            &[
                content_page("/Contents 4 0 R"),
                shows("page"),
                "<< /Type /Pages /Kids [2 0 R 5 0 R 3 0 R] >>".into(),
            ],
        ),
        "page\u{c}page",
        &[],
    );
}

#[test]
fn trees_that_multiply_are_stopped() {
    let bomb = |leaf: &str| {
        let mut objects = pages("3 0 R", &[]);
        // Thirty levels of ten kids each, which all are the same.
        for level in 0..30 {
            let kid = format!("{} 0 R ", level + 4).repeat(10);
            objects.push(format!("<< /Type /Pages /Kids [{kid}] >>"));
        }
        objects.push(leaf.into());
        objects
    };
    for (leaf, what) in [
        ("<< /Type /Pages /Kids [] >>", "entries in its page tree"),
        ("<< /Type /Page >>", "pages"),
    ] {
        let result = outcome(&bomb(leaf));
        assert!(
            matches!(result, Err(Error::TooLarge { what: found, .. }) if found == what),
            "{result:?}"
        );
    }
    // A chain that is deeper than any walk goes.
    let mut deep = pages("3 0 R 5003 0 R", &[]);
    for level in 0..5000 {
        deep.push(format!("<< /Type /Pages /Kids [{} 0 R] >>", level + 4));
    }
    deep.push(content_page("/Contents 5004 0 R"));
    deep.push(shows("shallow"));
    check(
        &deep,
        "\u{c}shallow",
        &["1: the page tree is more than 4096 levels deep"],
    );
}

#[test]
fn streams_that_decode_to_too_much_are_refused() {
    // Two megabytes of zeros in a few bytes, two hundred times over.
    let zeros = "0".repeat(2 << 20);
    let run = format!("{PACKED} /Length 0");
    let objects = pages(
        "3 0 R",
        &[
            content_page(&format!("/Contents [{}]", "4 0 R ".repeat(200))),
            stream(&run, &packed(&zeros)),
        ],
    );
    let result = outcome(&objects);
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
}

#[test]
fn a_file_without_a_page_tree_gives_its_loose_pages() {
    let objects = [
        "<< /Type /Catalog /Pages 9 0 R >>".to_owned(),
        content_page("/Contents 4 0 R"),
        content_page("/Contents 5 0 R"),
        shows("one"),
        shows("two"),
    ];
    check(
        &objects,
        "one\u{c}two",
        &[
            "0: its page tree is missing: the pages are in the order of the file, and there may be \
           more",
        ],
    );
}

#[test]
fn a_wrong_length_and_a_misspelt_end_are_no_damage() {
    let content = |text: &str| format!("BT /F 10 Tf 50 700 Td ({text}) Tj ET");
    let misspelt = format!("<< /Length 3 >>\nstream\n{}\nenxstream", content("one"));
    let too_long = format!("<< /Length 999 >>\nstream\n{}\nendstream", content("two"));
    check(
        &pages(
            "3 0 R 4 0 R",
            &[
                content_page("/Contents 5 0 R"),
                content_page("/Contents 6 0 R"),
                misspelt.clone(),
                too_long,
            ],
        ),
        "one\u{c}two",
        &[],
    );
    // The last stream of the file, after which no other end follows.
    check(
        &pages("3 0 R", &[content_page("/Contents 4 0 R"), misspelt]),
        "one",
        &[],
    );
}

#[test]
fn attachments_alone_need_no_password() {
    let encryption = |streams: &str| {
        format!(
            "<< /Filter /Standard /V 4 /R 4 /Length 128 /CF << /StdCF << /AuthEvent /EFOpen /CFM \
             /AESV2 /Length 16 >> >> /StmF {streams} /StrF /Identity /EFF /StdCF /O <{0}> /U <{0}> \
             /P -1028 /EncryptMetadata false >>",
            "5a".repeat(32)
        )
    };
    let open = |encryption: String, entry: &str| {
        let mut objects = pages("3 0 R", &[content_page("/Contents 4 0 R"), shows("plain")]);
        objects.push(encryption);
        let file = String::from_utf8_lossy(&pdf(&objects)).replace("/Root 1 0 R", entry);
        read(file.into_bytes()).map(|document| document.text)
    };
    let by_reference = "/Root 1 0 R /Encrypt 5 0 R /ID [<00> <00>]";
    assert_eq!(
        open(encryption("/Identity"), by_reference).as_deref(),
        Ok("plain")
    );
    let in_place = format!(
        "/Root 1 0 R /Encrypt {} /ID [<00> <00>]",
        encryption("/Identity")
    );
    assert_eq!(open("null".into(), &in_place).as_deref(), Ok("plain"));
    assert_eq!(
        open(encryption("/StdCF"), by_reference),
        Err(Error::Encrypted("a password is needed"))
    );
}
