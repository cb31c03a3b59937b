//! How locations are shown to people: on one line, with nothing that steers a terminal.

use crate::Location;

/// A location as error texts have it: in one line, whatever is in its name.
pub(crate) fn shown(location: &Location) -> String {
    match location {
        Location::File(path) => {
            let path = path.as_os_str().as_encoded_bytes().utf8_chunks();
            path.fold("file://".to_owned(), |mut text, chunk| {
                text.push_str(&one_line(chunk.valid()));
                for byte in chunk.invalid() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
                text
            })
        }
        Location::Bucket { .. } | Location::Http(_) => one_line(&location.to_string()),
    }
}

/// A text without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}
