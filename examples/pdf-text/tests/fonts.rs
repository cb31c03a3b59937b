//! What the codes of fonts mean, on small documents made by hand.

mod support;

use pdf_text::document::{Damage, read};
use support::{page, stream, true_type};

/// The text that codes in hexadecimal digits stand for in a font, and what was wrong.
fn shown(font: &str, codes: &str, further: &[&str]) -> (String, Vec<Damage>) {
    let resources = format!("/Font << /G {font} >>");
    let further: Vec<String> = further.iter().map(|&object| object.to_owned()).collect();
    let content = format!("BT /G 10 Tf 50 700 Td <{codes}> Tj ET");
    let file = page(&content, &resources, &further);
    read(file).map_or_else(
        |error| (error.to_string(), Vec::new()),
        |document| (document.text, document.damaged),
    )
}

#[track_caller]
fn check(font: &str, codes: &str, further: &[&str], expected: &str) {
    let (text, damaged) = shown(font, codes, further);
    assert_eq!((text.as_str(), damaged), (expected, Vec::new()));
}

fn simple(to_unicode: &str) -> String {
    format!(
        "<< /Type /Font /Subtype /TrueType /BaseFont /Arial /Encoding /WinAnsiEncoding /ToUnicode \
         {to_unicode} >>"
    )
}

fn composite(encoding: &str, collection: &str, to_unicode: &str) -> String {
    format!(
        "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding {encoding} {to_unicode} \
         /DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /CIDSystemInfo << \
         /Registry (Adobe) /Ordering ({collection}) /Supplement 0 >> /DW 500 >>] >>"
    )
}

#[test]
fn sloppy_maps_to_unicode_are_read() {
    let glued = stream(
        "",
        "begincmap /CMapType 2 def1 begincodespacerange<20><22>endcodespacerange3 \
         beginbfchar<20><00DC><21><00E4><22><00F5>endbfcharendcmap end",
    );
    check(&simple("5 0 R"), "202122", &[&glued], "Üäõ");
    let bracket = stream(
        "",
        "/CIDSystemInfo << /Ordering (UC>) >> def /CMapName /UC> def 2 beginbfchar <0001> <0048> \
         > <0002> <0069> endbfchar",
    );
    let font = composite("/Identity-H", "Identity", "/ToUnicode 5 0 R");
    check(&font, "00010002", &[&bracket], "Hi");
    let points = stream("", "1 begincidrange <0001> <0003> 97 endcidrange");
    check(&font, "000100020003", &[&points], "abc");
}

#[test]
fn the_name_of_a_predefined_map_is_a_map_to_unicode() {
    let font = |name: &str| composite("/Identity-H", "Identity", &format!("/ToUnicode /{name}"));
    check(&font("Identity-H"), "005600FD", &[], "Vý");
    check(&font("UniGB-UCS2-H"), "4E2D6587", &[], "中文");
    check(&font("Adobe-Japan1-UCS2"), "034B", &[], "あ");
}

#[test]
fn predefined_maps_of_every_family_are_read_in_every_form_of_unicode() {
    for (family, collection, text) in [
        ("UniJIS", "Japan1", "日本語"),
        ("UniGB", "GB1", "中文𠀀"),
        ("UniCNS", "CNS1", "臺灣"),
        ("UniKS", "Korea1", "한국어"),
        ("UniJIS2004", "Japan1", "辻"),
    ] {
        let hexadecimal = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect();
        let utf16 = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf32 = text
            .chars()
            .flat_map(|c| u32::from(c).to_be_bytes())
            .collect();
        let forms: [(&str, String); 3] = [
            ("UTF8", hexadecimal(text.as_bytes().to_vec())),
            ("UTF16", hexadecimal(utf16)),
            ("UTF32", hexadecimal(utf32)),
        ];
        for (form, codes) in forms {
            let font = composite(&format!("/{family}-{form}-H"), collection, "");
            check(&font, &codes, &[], text);
        }
    }
}

#[test]
fn an_unknown_map_speaks_no_latin_and_is_listed() {
    let (text, damaged) = shown(&composite("/NoSuchMap-H", "Japan1", ""), "41424344", &[]);
    assert_eq!(text, "\u{fffd}\u{fffd}");
    let [Damage { page, reason }] = damaged.as_slice() else {
        panic!("{damaged:?}");
    };
    assert_eq!(
        (*page, reason.as_str()),
        (
            Some(1),
            "its font `G`: its character map `NoSuchMap-H` is not known"
        )
    );
    // A map to Unicode makes up for it.
    let map = stream("", "1 beginbfchar <4142> <0061> endbfchar");
    let font = composite("/NoSuchMap-H", "Japan1", "/ToUnicode 5 0 R");
    assert_eq!(shown(&font, "4142", &[&map]).0, "a");
}

#[test]
fn true_type_fonts_without_an_encoding_are_read_as_windows_writes_them() {
    let font = |number: u32| {
        format!(
            "<< /Type /Font /Subtype /TrueType /BaseFont /AAAAAA+X /FontDescriptor << /Type \
             /FontDescriptor /FontName /AAAAAA+X /Flags 4 /FontFile2 {number} 0 R >> >>"
        )
    };
    // Only a map of codes: codes 0x41, 0xe9 and 0x93 have glyphs.
    let by_code = true_type(1, 0, &[(0x41, 1), (0x93, 2), (0xe9, 3)]);
    check(&font(5), "9341e9", &[&by_code], "\u{201c}Aé");
    // A map of characters as well, which knows better.
    let by_character = true_type(3, 1, &[(0x41, 1), (0x416, 2)]);
    check(&font(5), "41", &[&by_character], "A");
}

#[test]
fn replacement_text_counts_over_glyphs_that_say_nothing() {
    let map = stream("", "2 beginbfchar <2D> <0000> <2C> <002C> endbfchar");
    let font = "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [0.001 0 0 \
                0.001 0 0] /CharProcs << /g 6 0 R >> /Encoding << /Differences [44 /g /g] >> \
                /FirstChar 44 /LastChar 45 /Widths [600 600] /ToUnicode 5 0 R >>";
    let resources = format!("/Font << /G {font} >>");
    let digit = |digit: u8| format!("/Span << /ActualText ({digit}) >> BDC <2D> Tj EMC");
    let content = format!(
        "BT /G 10 Tf 50 700 Td {} 6 0 Td <2C> Tj 6 0 Td {} ET",
        digit(1),
        digit(4)
    );
    let glyph = stream("", "600 0 d0 0 0 500 700 re f");
    let text = read(page(&content, &resources, &[map, glyph])).map(|document| document.text);
    assert_eq!(text.as_deref(), Ok("1,4"));
}
