//! What is refused and in which words is compared with `golden/refused.txt`; set `UPDATE_GOLDEN=1`
//! to write it anew.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// Signatures that the macro refuses, each with the attribute's arguments.
const REFUSED: &[(&str, &str)] = &[
    ("retries = 3", "fn f() {}"),
    ("", "async fn f() {}"),
    ("", "unsafe fn f() {}"),
    ("", "extern \"C\" fn f() {}"),
    ("", "fn f<T: Serialize>(x: T) {}"),
    ("", "fn f() where u8: Copy {}"),
    ("", "fn f(&self, x: u8) {}"),
    ("", "fn f((x, y): (u8, u8)) {}"),
    ("", "fn f(_: u8) {}"),
    ("", "fn f(x: &str) {}"),
    ("", "fn f(x: &[u64]) {}"),
    ("", "fn f(x: &Object) {}"),
    ("", "fn f(x: impl Into<String>) {}"),
    ("", "fn f() -> impl Iterator<Item = u8> {}"),
    ("", "fn f() -> ! {}"),
    (
        "",
        "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) {}",
    ),
    ("", "async fn f<T>(x: &T) {}"),
    ("", "struct NotAFunction;"),
    ("", "fn f(&self);"),
];

fn tokens(source: &str) -> TokenStream {
    source.parse().expect("tokens")
}

/// The messages in `compile_error!`s of an expansion.
fn messages(expansion: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(expansion).expect("the expansion parses");
    let errors = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Macro(item)
            if item
                .mac
                .path
                .segments
                .last()
                .is_some_and(|last| last.ident == "compile_error") =>
        {
            Some(item.mac.tokens)
        }
        _ => None,
    });
    errors
        .map(|tokens| {
            syn::parse2::<syn::LitStr>(tokens)
                .expect("a literal")
                .value()
        })
        .collect()
}

#[test]
fn refusals_are_worded_as_in_the_golden_file() {
    let mut text = String::new();
    for (attribute, item) in REFUSED {
        let expansion = expand(tokens(attribute), tokens(item));
        let arguments = if attribute.is_empty() {
            String::new()
        } else {
            format!("({attribute})")
        };
        writeln!(text, "#[sortie_guest::function{arguments}] {item}").expect("writes to a string");
        for message in messages(expansion) {
            writeln!(text, "    error: {message}").expect("writes to a string");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/refused.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file can be read");
    assert_eq!(text, golden);
}

#[test]
fn every_signature_in_the_list_is_refused() {
    for (attribute, item) in REFUSED {
        assert!(
            !messages(expand(tokens(attribute), tokens(item))).is_empty(),
            "{item} was accepted"
        );
    }
}

#[test]
fn the_function_itself_is_left_as_it_is() {
    let item = tokens("/// Doc.\n#[inline] pub(crate) fn f(mut x: u8) -> u8 { x += 1; x }");
    let expansion = expand(TokenStream::new(), item.clone()).to_string();
    assert!(expansion.starts_with(&item.to_string()), "{expansion}");
}

#[test]
fn a_refused_function_is_still_there_for_its_callers() {
    let item = tokens("fn f(x: &str) {}");
    assert!(
        expand(TokenStream::new(), item.clone())
            .to_string()
            .starts_with(&item.to_string())
    );
}

#[test]
fn documentation_loses_the_space_that_the_comment_marker_needs_and_nothing_else() {
    let function: ItemFn = syn::parse_str(
        "/// One.\n///\n///     code\n#[doc = \"two\\nthree \"]\n#[inline]\nfn f() {}",
    )
    .expect("parses");
    assert_eq!(
        documentation(&function.attrs),
        "One.\n\n    code\ntwo\nthree"
    );
}
