//! Right-to-left lines: from the order in which glyphs stand on the page to the order in which they
//! are read.
//!
//! This is the Unicode bidirectional algorithm run backwards on one line, as far as that has an
//! answer: the algorithm loses information, so the direction of the paragraph is guessed from its
//! letters. Numbers and Latin words keep their direction within a right-to-left line; brackets are
//! turned when they are the wrong way round after the run was.

use crate::glyph::{Kind, Text, Texts};
use crate::layout::cluster::Cluster;
use crate::unicode;

/// How many letters of one direction outweigh a letter of the other, against the direction of the
/// page.
const MINORITY: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Left,
    Right,
    Number,
    /// A sign that joins digits to one number.
    Joiner,
    Neutral,
}

/// Reorder the clusters of a line.
pub(crate) fn to_logical(clusters: &mut [Cluster], texts: &Texts, is_rtl_page: bool) {
    let classes: Vec<Class> = clusters
        .iter()
        .map(|cluster| class(cluster, texts))
        .collect();
    let count = |class: Class| classes.iter().filter(|&&c| c == class).count();
    let (left, right) = (count(Class::Left), count(Class::Right));
    // A line goes the way its page does, unless nearly all of it goes the other way.
    if right > MINORITY * left || is_rtl_page && right * MINORITY > left {
        reverse(clusters, &classes);
    } else {
        let mut start = 0;
        while let Some((from, to)) = next_right_run(&classes, start) {
            if let (Some(run), Some(classes)) = (clusters.get_mut(from..to), classes.get(from..to))
            {
                reverse(run, classes);
            }
            start = to;
        }
    }
}

fn class(cluster: &Cluster, texts: &Texts) -> Class {
    if cluster.kind.has(Kind::RTL) {
        return Class::Right;
    }
    if cluster.kind.has(Kind::DIGIT) {
        return Class::Number;
    }
    if cluster.kind.has(Kind::LETTER | Kind::WIDE) {
        return Class::Left;
    }
    match texts.first(cluster.text) {
        Some(
            '.' | ',' | ':' | '/' | '-' | '+' | '%' | '\u{66b}' | '\u{66c}' | '$' | '€' | '#' | '_'
            | '@' | '&' | '=',
        ) => Class::Joiner,
        _ => Class::Neutral,
    }
}

/// The next stretch from one right-to-left letter to the last before any left-to-right one.
fn next_right_run(classes: &[Class], start: usize) -> Option<(usize, usize)> {
    let from = start
        + classes
            .get(start..)?
            .iter()
            .position(|&class| class == Class::Right)?;
    let rest = classes.get(from..)?;
    let limit = rest
        .iter()
        .position(|&class| class == Class::Left)
        .unwrap_or(rest.len());
    let last = rest
        .get(..limit)?
        .iter()
        .rposition(|&class| class == Class::Right)?;
    Some((from, from + last + 1))
}

/// Reverse a right-to-left run, but not the left-to-right runs within.
fn reverse(clusters: &mut [Cluster], classes: &[Class]) {
    clusters.reverse();
    let classes: Vec<Class> = classes.iter().rev().copied().collect();
    let mut is_right = vec![true; classes.len()];
    let mut start = 0;
    while let Some(from) = classes
        .get(start..)
        .and_then(|rest| rest.iter().position(|&c| is_left_to_right(c)))
        .map(|at| start + at)
    {
        let to = left_run_end(&classes, from);
        if let (Some(run), Some(flags)) = (clusters.get_mut(from..to), is_right.get_mut(from..to)) {
            run.reverse();
            flags.fill(false);
        }
        start = to;
    }
    turn_brackets(clusters, &is_right);
}

fn is_left_to_right(class: Class) -> bool {
    matches!(class, Class::Left | Class::Number)
}

/// The end of the left-to-right run at `from`: letters go on over signs and spaces, digits only
/// over signs that join them.
fn left_run_end(classes: &[Class], from: usize) -> usize {
    let mut end = from + 1;
    let mut has_letters = classes.get(from) == Some(&Class::Left);
    let mut only_joiners = true;
    for (at, &class) in classes.iter().enumerate().skip(from + 1) {
        match class {
            Class::Right => break,
            Class::Left | Class::Number => {
                let is_near = at == end || only_joiners && at == end + 1;
                if is_near || has_letters || class == Class::Left {
                    end = at + 1;
                    has_letters |= class == Class::Left;
                    only_joiners = true;
                } else {
                    break;
                }
            }
            Class::Joiner => {}
            Class::Neutral => only_joiners = false,
        }
    }
    end
}

/// Brackets in a reversed run may name their shape or their meaning: turned where the first of them
/// closes.
fn turn_brackets(clusters: &mut [Cluster], is_right: &[bool]) {
    let bracket = |cluster: &Cluster| cluster.text.as_char().and_then(unicode::opens_pair);
    let first = clusters
        .iter()
        .zip(is_right)
        .filter(|&(_, &right)| right)
        .find_map(|(cluster, _)| bracket(cluster));
    if first != Some(false) {
        return;
    }
    for (cluster, _) in clusters
        .iter_mut()
        .zip(is_right)
        .filter(|&(_, &right)| right)
    {
        if let Some(c) = cluster.text.as_char() {
            cluster.text = Text::of(unicode::mirrored(c));
        }
    }
}
