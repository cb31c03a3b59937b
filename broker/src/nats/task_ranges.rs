//! A header that names the tasks of a bundle or report, for readers that cannot read the message.
//!
//! A message of a later version, or a damaged one, must not lose its tasks silently: a bundle goes
//! to the dead letters and its tasks end, and a report is passed on as unreadable. The header is
//! bounded: ranges that do not fit are left out, and their tasks are not reported.

use std::fmt::Write as _;

use async_nats::HeaderMap;
use sortie_protocol::TaskIndex;
use sortie_protocol::packing::TASKS_MAX;

/// The header: indices and ranges of them, ends included, as in `0-41,43`.
pub(super) const TASKS: &str = "Sortie-Tasks";
/// The most bytes of the header's value: a small part of what is reserved for headers. One range of
/// any bundle fits many times.
const CHARS_MAX: usize = 512;

/// Name the tasks of a message.
pub(super) fn insert(headers: &mut HeaderMap, tasks: impl IntoIterator<Item = TaskIndex>) {
    headers.insert(TASKS, written(tasks.into_iter()).as_str());
}

/// The tasks that a header names, no more than fit a bundle. The header is not trusted and may be
/// missing.
pub(super) fn read(headers: Option<&HeaderMap>) -> Vec<TaskIndex> {
    headers
        .and_then(|headers| headers.get(TASKS))
        .map(|text| parse(text.as_str()))
        .unwrap_or_default()
}

pub(super) fn written(indices: impl Iterator<Item = TaskIndex>) -> String {
    let mut text = String::new();
    let mut ranges: Vec<(TaskIndex, TaskIndex)> = Vec::new();
    for index in indices {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    for (first, last) in ranges {
        let before = text.len();
        let comma = if before == 0 { "" } else { "," };
        // Writing to a `String` cannot fail.
        let _ = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}-{last}")
        };
        if text.len() > CHARS_MAX {
            text.truncate(before);
            break;
        }
    }
    text
}

pub(super) fn parse(text: &str) -> Vec<TaskIndex> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<TaskIndex>().ok()?..=last.parse().ok()?)
    };
    // What is cut off may be a part of a number, and the rest of that number another task.
    let text = match text.get(..CHARS_MAX) {
        Some(whole) if whole.len() == text.len() => whole,
        Some(cut) => cut
            .rsplit_once(',')
            .map(|(whole, _)| whole)
            .unwrap_or_default(),
        None if text.len() < CHARS_MAX => text,
        None => "",
    };
    text.split(',')
        .map_while(range)
        .flatten()
        .take(TASKS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_out_as_they_went_in() {
        for indices in [
            vec![],
            vec![7],
            vec![0, 1, 2],
            vec![0, 2, 3, 4, 9, TaskIndex::MAX],
        ] {
            assert_eq!(parse(&written(indices.iter().copied())), indices);
        }
        assert_eq!(written([0, 1, 2, 7].into_iter()), "0-2,7");
    }

    #[test]
    fn a_header_that_is_too_long_is_not_cut_in_the_middle_of_a_number() {
        let sevens = "7,".repeat(CHARS_MAX / 2 - 1);
        let count = CHARS_MAX / 2 - 1;
        for (tail, whole) in [
            ("12345", &[][..]),
            ("1-234", &[]),
            ("12", &[12]),
            ("1", &[1]),
            ("1,234", &[1]),
        ] {
            let parsed = parse(&format!("{sevens}{tail}"));
            assert_eq!(
                (parsed.get(..count), parsed.get(count..)),
                (Some(&*vec![7; count]), Some(whole)),
                "{tail}"
            );
        }
        assert!(parse(&"1".repeat(CHARS_MAX + 1)).is_empty());
    }

    #[test]
    fn a_header_that_says_anything_costs_no_more_than_a_bundle() {
        assert_eq!(parse("0-18446744073709551615").len(), TASKS_MAX);
        assert!(parse("5-2,x,1").is_empty());
        assert_eq!(parse("3,-,1"), [3]);
        assert!(parse(&"é".repeat(CHARS_MAX)).is_empty());
        let apart: Vec<TaskIndex> = (0..1000).map(|n| n * 1_000_000).collect();
        let text = written(apart.iter().copied());
        assert!(
            text.len() <= CHARS_MAX && apart.starts_with(&parse(&text)) && !parse(&text).is_empty(),
            "{text}"
        );
    }
}
