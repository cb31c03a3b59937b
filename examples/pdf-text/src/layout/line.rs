//! Spelling out a line: spaces from gaps, accents onto letters, and for right-to-left scripts the
//! order of speech.
//!
//! Works on clusters, a cluster being a glyph with the marks it carries. Lines without accents,
//! marks or right-to-left letters, which are nearly all, are written straight to the output.

use crate::glyph::{Glyph, Kind, Text, Texts, greater};
use crate::layout::bidi;
use crate::layout::cluster::Cluster;
use crate::layout::columns::Line;
use crate::unicode;

/// Gap, in ems, that is a space: a third of a usual space, more than any kerning.
const SPACE_MIN: f32 = 0.12;
/// The same in lines that draw their spaces, where other gaps are more likely to be kerning, unless
/// the pen was set down anew.
const SPACE_MIN_DRAWN: f32 = 0.2;
/// The same between ideographs, which stand in squares.
const SPACE_MIN_WIDE: f32 = 0.5;
/// The same next to the punctuation between them, which fills half of its square.
const SPACE_MIN_WIDE_SIGN: f32 = 0.8;
/// Letters that make it worth looking for letter-spacing.
const TRACKED_MIN: usize = 6;
/// Letter-spacing, in ems, beyond which letters stand for themselves.
const TRACKING_MAX: f32 = 0.4;
/// Letters that make a letter-spaced word in a line with too few of them to be sure.
const TRACKED_WORD_MIN: usize = 3;
/// Letter-spacing, in ems, of such a word: less than a space has.
const TRACKED_WORD_MAX: f32 = 0.24;
/// How far, in ems, the spaces between its letters may differ.
const TRACKED_WORD_VARIATION: f32 = 0.05;
/// How much nearer, in ems, a mark must be to the less likely of two letters.
const MARK_SHIFT: f32 = 0.2;
/// Distance, in ems, from a mark to the letter that carries it.
const MARK_DISTANCE_MAX: f32 = 0.6;
/// How far, in ems, the pen goes back from one script to the other.
const SCRIPT_OVERLAP: f32 = 0.2;
/// Distance, in ems, between the baselines of two scripts.
const SCRIPT_STEP: f32 = 0.6;
/// Signs in the mark of a footnote.
const MARK_MAX: usize = 3;
/// Letters for each space in a line that draws its spaces, at most.
const LETTERS_PER_SPACE: usize = 20;

/// The gaps, in ems, that are spaces in a line.
#[derive(Clone, Copy)]
struct Least {
    usual: f32,
    /// Before a glyph for which the pen was set down anew.
    placed: f32,
}

/// Writes lines; keeps its buffers between them.
#[derive(Default)]
pub(crate) struct Speller {
    clusters: Vec<Cluster>,
    spaced: Vec<Cluster>,
    gaps: Vec<f32>,
}

impl Speller {
    /// Append the text of a line. Spaces at its ends are left out.
    pub(crate) fn spell(
        &mut self,
        line: &Line,
        glyphs: &[Glyph],
        texts: &Texts,
        is_rtl_page: bool,
        out: &mut String,
    ) {
        self.collect(line, glyphs);
        let kinds = self
            .clusters
            .iter()
            .fold(Kind::default(), |kinds, cluster| kinds | cluster.kind);
        if kinds.has(Kind::ACCENT | Kind::MARK) {
            attach_marks(&mut self.clusters, kinds.has(Kind::RTL));
        }
        if kinds.has(Kind::RTL) {
            // Glyphs of these scripts are drawn in either order.
            self.clusters.sort_by(|a, b| a.from.total_cmp(&b.from));
        }
        let tracking = self.tracking();
        let least = Least {
            usual: self.space_min() + tracking,
            // Letters that do not join their neighbours stand apart in joined scripts.
            placed: match kinds.has(Kind::RTL) {
                true => self.space_min() + tracking,
                false => SPACE_MIN + tracking,
            },
        };
        if tracking == 0.0 && !kinds.has(Kind::RTL) {
            join_tracked_words(&mut self.clusters);
        }
        if kinds.has(Kind::RTL) {
            self.spaced.clear();
            let spaced = &mut self.spaced;
            separate(&self.clusters, least, |is_apart, cluster| {
                spaced.extend(is_apart.then(Cluster::space));
                spaced.extend(cluster.copied());
            });
            bidi::to_logical(spaced, texts, is_rtl_page);
            let mut line = Spelling::new(out);
            for cluster in spaced.iter() {
                line.push(
                    cluster.kind.has(Kind::SPACE),
                    Some(cluster).filter(|cluster| !cluster.kind.has(Kind::SPACE)),
                    texts,
                );
            }
        } else {
            let mut line = Spelling::new(out);
            separate(&self.clusters, least, |is_apart, cluster| {
                line.push(is_apart, cluster, texts)
            });
        }
    }

    fn collect(&mut self, line: &Line, glyphs: &[Glyph]) {
        self.clusters.clear();
        for segment in &line.segments {
            let glyphs = glyphs.get(segment.start..segment.end).unwrap_or_default();
            self.clusters.extend(
                glyphs
                    .iter()
                    .filter(|glyph| glyph.text != Text::NONE)
                    .map(Cluster::of),
            );
        }
    }

    /// How far apart, in ems, the letters of a letter-spaced line stand. Zero for ordinary lines.
    fn tracking(&mut self) -> f32 {
        self.gaps.clear();
        let pairs = self.clusters.iter().zip(self.clusters.iter().skip(1));
        let letters = pairs.filter(|(a, b)| {
            a.kind.has(Kind::LETTER) && b.kind.has(Kind::LETTER) && !a.kind.has(Kind::WIDE)
        });
        self.gaps
            .extend(letters.map(|(a, b)| (b.from - a.to) / greater(a.em, b.em)));
        let wide = self.gaps.iter().filter(|&&gap| gap > SPACE_MIN).count();
        if self.gaps.len() < TRACKED_MIN || wide * 2 < self.gaps.len() {
            return 0.0;
        }
        let middle = self.gaps.len() / 2;
        let (_, median, _) = self.gaps.select_nth_unstable_by(middle, f32::total_cmp);
        if *median < TRACKING_MAX {
            median.max(0.0)
        } else {
            0.0
        }
    }

    /// The gap, in ems, that is a space in this line.
    fn space_min(&self) -> f32 {
        let spaces = self
            .clusters
            .iter()
            .filter(|cluster| cluster.kind.has(Kind::SPACE))
            .count();
        if spaces * LETTERS_PER_SPACE >= self.clusters.len() {
            SPACE_MIN_DRAWN
        } else {
            SPACE_MIN
        }
    }
}

/// Go through a line and say before which clusters there is a space. A drawn space is no cluster.
fn separate(clusters: &[Cluster], least: Least, mut emit: impl FnMut(bool, Option<&Cluster>)) {
    let mut last: Option<&Cluster> = None;
    for (index, cluster) in clusters.iter().enumerate() {
        if cluster.text == Text::of('\u{ad}')
            && clusters
                .get(index + 1)
                .is_some_and(|next| is_hidden_hyphen(cluster, next))
        {
            continue;
        }
        if cluster.kind.has(Kind::SPACE) {
            emit(true, None);
        } else {
            let is_apart = last.is_some_and(|last| is_space(last, cluster, least));
            emit(
                is_apart
                    || index <= MARK_MAX
                        && is_after_mark(clusters.get(..index).unwrap_or_default(), cluster),
                Some(cluster),
            );
        }
        last = Some(cluster);
    }
}

/// Whether a soft hyphen only says where the word may be broken: the next letter is drawn in its
/// place.
fn is_hidden_hyphen(hyphen: &Cluster, next: &Cluster) -> bool {
    next.from - hyphen.from < 0.1 * hyphen.em
}

fn is_space(last: &Cluster, next: &Cluster, least: Least) -> bool {
    if last.kind.has(Kind::SPACE) || next.kind.has(Kind::JOINED) {
        return false;
    }
    if is_other_script(last, next) {
        return true;
    }
    let usual = match next.kind.has(Kind::PLACED) && ends_word(last) && begins_word(next) {
        true => least.placed,
        false => least.usual,
    };
    let least = match (last.kind.has(Kind::WIDE), next.kind.has(Kind::WIDE)) {
        (true, true) if last.kind.has(Kind::LETTER) && next.kind.has(Kind::LETTER) => {
            SPACE_MIN_WIDE
        }
        (true, true) => SPACE_MIN_WIDE_SIGN,
        _ => usual,
    };
    let gap = gap(last, next);
    gap > least || gap < -1.0
}

fn begins_word(cluster: &Cluster) -> bool {
    cluster.kind.has(Kind::LETTER | Kind::DIGIT)
}

fn ends_word(cluster: &Cluster) -> bool {
    begins_word(cluster)
        || matches!(
            cluster.text.as_char(),
            Some(',' | '.' | ';' | ':' | '!' | '?' | ')')
        )
}

/// Whether the pen went back from a superscript to a subscript, or from a numerator to its
/// denominator.
fn is_other_script(last: &Cluster, next: &Cluster) -> bool {
    let em = greater(last.em, next.em);
    next.from < last.to - SCRIPT_OVERLAP * em
        && (next.across - last.across).abs() > SCRIPT_STEP * em
}

/// The space between two clusters, in ems.
fn gap(last: &Cluster, next: &Cluster) -> f32 {
    (next.from - last.to) / greater(last.em, next.em)
}

/// Mark the letters of short letter-spaced words as joined: at least three letters that stand
/// evenly apart, and further from what is around them. Beside such a word, two letters do.
fn join_tracked_words(clusters: &mut [Cluster]) {
    let mut tracking = None;
    for least in [TRACKED_WORD_MIN, 2] {
        if least < TRACKED_WORD_MIN && tracking.is_none() {
            return;
        }
        let mut start = 0;
        while start + 1 < clusters.len() {
            let (end, found) = tracked_word(clusters, start);
            let found = found.filter(|gap| {
                tracking.is_none_or(|usual: f32| (gap - usual).abs() < TRACKED_WORD_VARIATION)
            });
            if let Some(gap) = found
                && end - start >= least
            {
                tracking.get_or_insert(gap);
                for letter in clusters.get_mut(start + 1..end).unwrap_or_default() {
                    letter.kind = letter.kind | Kind::JOINED;
                }
            }
            // The last of these letters may begin a word of another spacing.
            start = end.saturating_sub(1).max(start + 1);
        }
    }
}

/// Where the letters end that stand evenly apart from here on, and how far apart they do if they
/// are a letter-spaced word.
fn tracked_word(clusters: &[Cluster], start: usize) -> (usize, Option<f32>) {
    let is_letter =
        |cluster: &&Cluster| cluster.kind.has(Kind::LETTER) && !cluster.kind.has(Kind::WIDE);
    let gap_at = |at: usize| {
        let last = clusters.get(at.checked_sub(1)?).filter(is_letter)?;
        clusters
            .get(at)
            .filter(is_letter)
            .map(|next| gap(last, next))
    };
    let Some(first) = gap_at(start + 1).filter(|gap| (SPACE_MIN..TRACKED_WORD_MAX).contains(gap))
    else {
        return (start, None);
    };
    let mut end = start + 2;
    while gap_at(end).is_some_and(|gap| (gap - first).abs() < TRACKED_WORD_VARIATION) {
        end += 1;
    }
    let is_apart = |at: usize| gap_at(at).is_none_or(|gap| gap > first + SPACE_MIN);
    let is_word = is_apart(start) && is_apart(end);
    (end, is_word.then_some(first))
}

/// Whether a line begins with the small raised mark of a footnote, which stands close to the first
/// word but is not part of it.
fn is_after_mark(before: &[Cluster], next: &Cluster) -> bool {
    let is_mark = |cluster: &Cluster| {
        !cluster.kind.has(Kind::LETTER | Kind::SPACE) && cluster.em < 0.85 * next.em
    };
    next.kind.has(Kind::LETTER) && !before.is_empty() && before.iter().all(is_mark)
}

/// A line being written: single spaces, none at the ends.
struct Spelling<'o> {
    out: &'o mut String,
    start: usize,
    is_apart: bool,
}

impl<'o> Spelling<'o> {
    fn new(out: &'o mut String) -> Self {
        Self {
            start: out.len(),
            out,
            is_apart: false,
        }
    }

    fn push(&mut self, is_apart: bool, cluster: Option<&Cluster>, texts: &Texts) {
        self.is_apart |= is_apart;
        let Some(cluster) = cluster else { return };
        if std::mem::take(&mut self.is_apart) && self.out.len() > self.start {
            self.out.push(' ');
        }
        cluster.write(texts, self.out);
    }
}

/// Move accents and combining marks to the letters they belong to. One that belongs to none stays
/// what it is.
fn attach_marks(clusters: &mut Vec<Cluster>, is_rtl: bool) {
    for index in 0..clusters.len() {
        let Some(mark) = clusters
            .get(index)
            .copied()
            .filter(|cluster| cluster.kind.has(Kind::ACCENT | Kind::MARK))
        else {
            continue;
        };
        let found = if mark.kind.has(Kind::MARK) {
            base_of_mark(clusters, index, &mark, is_rtl).map(|base| (base, mark.text))
        } else {
            base_of_accent(clusters, index, &mark)
        };
        let Some((base, text)) = found else { continue };
        let free = clusters
            .get_mut(base)
            .and_then(|base| base.marks.iter_mut().find(|mark| mark.is_none()));
        if let Some(free) = free {
            *free = Some(text);
            if let Some(mark) = clusters.get_mut(index) {
                mark.text = Text::NONE;
            }
        }
    }
    clusters.retain(|cluster| cluster.text != Text::NONE);
}

/// TeX draws an accent and then its letter; a cedilla, and what other producers draw, comes after
/// it.
fn base_of_accent(clusters: &[Cluster], index: usize, accent: &Cluster) -> Option<(usize, Text)> {
    let combining = accent.text.as_char().and_then(unicode::combining_accent)?;
    let neighbours = [
        Some(index + 1),
        index.checked_sub(1),
        index.checked_sub(2),
        Some(index + 2),
    ];
    let base = neighbours
        .into_iter()
        .flatten()
        .find(|&at| clusters.get(at).is_some_and(|base| carries(base, accent)))?;
    Some((base, Text::of(combining)))
}

/// A combining mark has no width, so its place says little when it is near two letters; then the
/// order of drawing decides. Letters are drawn before their marks, but right-to-left text is mostly
/// drawn from left to right, marks first.
fn base_of_mark(clusters: &[Cluster], index: usize, mark: &Cluster, is_rtl: bool) -> Option<usize> {
    let is_letter = |at: &usize| {
        clusters
            .get(*at)
            .is_some_and(|cluster| cluster.kind.has(Kind::LETTER) && cluster.text != Text::NONE)
    };
    let before = (index.saturating_sub(3)..index).rev().find(is_letter);
    let after = (index + 1..index + 4).find(is_letter);
    let middle = (mark.from + mark.to) / 2.0;
    let distance = |at: usize| {
        clusters.get(at).map_or(f32::INFINITY, |base| {
            (base.from - middle).max(middle - base.to).max(0.0) / mark.em
        })
    };
    let (likely, other) = if is_rtl {
        (after, before)
    } else {
        (before, after)
    };
    match (likely, other) {
        (Some(likely), Some(other)) if distance(likely) > distance(other) + MARK_SHIFT => {
            Some(other)
        }
        (likely, other) => likely.or(other),
    }
    .filter(|&base| distance(base) < MARK_DISTANCE_MAX)
}

/// Whether the accent stands over (or under) the letter: their extents share most of the narrower
/// one.
fn carries(base: &Cluster, mark: &Cluster) -> bool {
    if !base.kind.has(Kind::LETTER) {
        return false;
    }
    let (from, to) = (mark.from.max(base.from), mark.to.min(base.to));
    let narrower = (mark.to - mark.from).min(base.to - base.from);
    narrower > 0.0 && to - from > 0.5 * narrower
}
