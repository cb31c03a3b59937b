//! Tokens as people write them: `Result<Vec<u8>, Failure>`, where `TokenStream::to_string` says
//! `Result < Vec < u8 > , Failure >`.
//!
//! Only what can stand in a type has to come out well; anything else comes out correct, if perhaps
//! oddly spaced. The text is for people and is never parsed.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The tokens of a type as text.
pub(crate) fn spell(tokens: TokenStream) -> String {
    let mut text = String::new();
    write(tokens, &mut text);
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    let mut previous: Option<TokenTree> = None;
    for token in tokens {
        if previous
            .as_ref()
            .is_some_and(|previous| is_word(previous) && is_word(&token))
        {
            text.push(' ');
        }
        match &token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                separator @ (',' | ';') => text.extend([separator, ' ']),
                operator @ ('+' | '=') => text.extend([' ', operator, ' ']),
                '-' if punct.spacing() == Spacing::Joint => text.push_str(" -"),
                '>' if matches!(
                    &previous,
                    Some(TokenTree::Punct(dash)) if dash.as_char() == '-'
                ) =>
                {
                    text.push_str("> ")
                }
                other => text.push(other),
            },
            TokenTree::Ident(_) | TokenTree::Literal(_) => text.push_str(&token.to_string()),
        }
        previous = Some(token);
    }
    // A trailing comma, as in `(u8,)` or in a type broken over lines.
    text.truncate(text.trim_end().len());
}

fn is_word(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(_) | TokenTree::Literal(_) => true,
        TokenTree::Group(_) | TokenTree::Punct(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str) {
        let tokens: TokenStream = source.parse().expect("tokens");
        assert_eq!(spell(tokens), source);
    }

    #[test]
    fn types_are_spelled_as_written() {
        check("Document");
        check("Vec<HashMap<String, (u64, f64)>>");
        check("serde_json::Value");
        check("[u8; 16]");
        check("(u8,)");
        check("&'static str");
        check("Option<Box<dyn Fn(u8) -> u8 + Send>>");
        check("()");
    }
}
