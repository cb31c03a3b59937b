//! Form fields and annotations without an appearance: what a viewer would show.

mod support;

use pdf_text::document::read;
use support::{pages, pdf, stream};

/// The text of a page with these annotations, whose form has these entries.
fn text(form: &str, annotations: &[&str]) -> String {
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Annots \
                [ANNOTS] /Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont \
                /Helvetica >> >> >> >>";
    let kids: String = (0..annotations.len())
        .map(|index| format!("{} 0 R ", index + 6))
        .collect();
    let mut objects = pages(
        "3 0 R",
        &[
            page.replace("ANNOTS", &kids),
            stream("", "BT /F 10 Tf 50 700 Td (Form) Tj ET"),
            stream(
                "/Type /XObject /Subtype /Form /BBox [0 0 200 20]",
                "/Tx BMC BT /F 10 Tf 2 5 Td (drawn) Tj ET EMC",
            ),
        ],
    );
    objects.extend(annotations.iter().map(|&annotation| annotation.to_owned()));
    if let Some(catalog) = objects.first_mut() {
        *catalog = format!("<< /Type /Catalog /Pages 2 0 R /AcroForm << {form} >> >>");
    }
    let text = read(pdf(&objects)).map(|document| document.text);
    text.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The text of one widget with these entries.
fn widget(form: &str, entries: &str) -> String {
    let widget = format!("<< /Type /Annot /Subtype /Widget /Rect [50 600 250 620] {entries} >>");
    text(form, &[&widget])
}

const RENEW: &str = "/NeedAppearances true";

#[test]
fn a_field_without_an_appearance_shows_its_value() {
    let field = "/FT /Tx /V (Ada Lovelace) /DA (/F 12 Tf 0 g)";
    assert_eq!(widget("", field), "Form Ada Lovelace");
    assert_eq!(widget(RENEW, field), "Form Ada Lovelace");
    // The second is outside the page.
    let outside = "<< /Subtype /Widget /FT /Tx /V (out) /Rect [50 900 250 920] >>";
    assert_eq!(text("", &[outside]), "Form");
}

#[test]
fn an_appearance_counts_unless_all_are_to_be_made_anew() {
    let field = "/FT /Tx /V (value) /AP << /N 5 0 R >>";
    assert_eq!(widget("", field), "Form drawn");
    assert_eq!(widget(RENEW, field), "Form value");
    assert_eq!(widget(RENEW, "/FT /Tx /AP << /N 5 0 R >>"), "Form drawn");
}

#[test]
fn fields_take_from_their_parents_what_they_lack() {
    let widget = "<< /Subtype /Widget /Parent 7 0 R /Rect [50 600 250 620] >>";
    let field = "<< /FT /Tx /V <FEFF00C4006400610301> /Kids [6 0 R] /Parent 7 0 R >>";
    assert_eq!(text("", &[widget, field]), "Form Ädá");
}

#[test]
fn each_kind_of_field_shows_what_viewers_show() {
    let options = "/Opt [[(a) (first choice)] [(b) (second choice)]]";
    let combo = format!("/FT /Ch /Ff 131072 /V (b) {options}");
    assert_eq!(widget("", &combo), "Form second choice");
    let list = format!("/FT /Ch /V (b) {options}");
    assert_eq!(widget("", &list), "Form first choice second choice");
    assert_eq!(
        widget("", "/FT /Btn /Ff 65536 /MK << /CA (Send) >>"),
        "Form Send"
    );
    assert_eq!(widget("", "/FT /Tx /Ff 8192 /V (secret)"), "Form");
    assert_eq!(widget("", "/FT /Btn /V /Yes"), "Form");
    assert_eq!(widget("", "/FT /Tx /F 2 /V (hidden)"), "Form");
}

#[test]
fn long_values_are_wrapped_or_set_smaller_but_not_lost() {
    let words = "several words that need more room than a narrow field of one line has for them \
                 whatever a viewer may do about that "
        .repeat(3);
    for flags in [0, 4096] {
        let field = format!("/FT /Tx /Ff {flags} /V ({words}) /DA (/F 14 Tf)");
        assert_eq!(widget("", &field), format!("Form {}", words.trim()));
    }
    assert_eq!(
        widget("", r"/FT /Tx /Ff 4096 /V (one\rtwo\nthree)"),
        "Form one two three"
    );
}

#[test]
fn typed_remarks_are_text_and_notes_are_not() {
    let remark = "<< /Type /Annot /Subtype /FreeText /Contents (typed on the page) /DA (/F 12 Tf) \
                  /Rect [50 600 350 620] >>";
    assert_eq!(text("", &[remark]), "Form typed on the page");
    let drawn = remark.replace("/Rect", "/AP << /N 5 0 R >> /Rect");
    assert_eq!(text(RENEW, &[&drawn]), "Form drawn");
    let note = remark.replace("/FreeText", "/Text");
    assert_eq!(text("", &[&note]), "Form");
}

#[test]
fn parents_in_a_circle_do_no_harm() {
    let widget = "<< /Subtype /Widget /Parent 7 0 R /Rect [50 600 250 620] >>";
    let parent = "<< /FT /Tx /Parent 7 0 R >>";
    assert_eq!(text("", &[widget, parent]), "Form");
}
