//! Bounds text that comes from a guest or from outside.

/// Cut guest text to `bytes_max` at a character's border.
#[must_use]
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_keeps_whole_characters_and_says_that_it_cut() {
        assert_eq!(cut("short".into(), 10), "short");
        assert_eq!(cut("ééééé".into(), 8), "éé…");
        assert_eq!(cut("ééééé".into(), 2), "…");
    }
}
