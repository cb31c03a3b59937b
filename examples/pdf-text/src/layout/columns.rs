//! Lines, and the order of lines: segments on one baseline become a line, and columns that were
//! drawn alternately are separated.
//!
//! Most producers finish a column before they begin the next, and then the drawing order is kept.
//! Some draw a two-column page line by line across both; a table looks much the same. Columns of
//! text differ in that nearly every line fills its column, so only where that holds for both sides
//! over many lines is the order changed.

use crate::layout::segment::Segment;

/// Shift of the baseline, in sizes, within one line.
const SHIFT_MAX: f32 = 0.3;
/// Lines with text on both sides that make a pair of columns.
const LINES_MIN: usize = 6;
/// Width of a column, in ems, that can hold text.
const WIDTH_MIN: f32 = 10.0;
/// Largest font size taken for that of running text.
const TEXT_EM_MAX: f32 = 14.0;
/// Part of its column that the middle line of a column of text fills at least.
const FILL_MIN: f32 = 0.75;
/// Columns within columns: three or four side by side.
const DEPTH_MAX: usize = 2;
/// Leading, in sizes, of a page that shows none.
const LEADING: f32 = 1.2;
/// Places looked at for a gutter.
const BINS: usize = 128;

/// Segments on one baseline, from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(super) segments: Vec<Segment>,
}

impl Line {
    fn first(&self) -> Option<&Segment> {
        self.segments.first()
    }

    fn from(&self) -> f32 {
        self.segments
            .iter()
            .map(|segment| segment.from)
            .fold(f32::INFINITY, f32::min)
    }

    fn to(&self) -> f32 {
        self.segments
            .iter()
            .map(|segment| segment.to)
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// The largest segment's baseline and size stand for the line.
    fn main(&self) -> Option<&Segment> {
        self.segments
            .iter()
            .max_by(|a, b| a.size.total_cmp(&b.size))
    }

    /// The distance below `previous`, in sizes, if this line stands below it at all.
    fn step(&self, previous: &Self) -> Option<f32> {
        let (this, previous) = (self.main()?, previous.main()?);
        let step = (this.across - previous.across) / this.size.max(previous.size);
        (this.is_parallel(previous) && step > -0.5).then_some(step)
    }

    /// Whether this line comes next below `previous`, as lines of one paragraph do on a page with
    /// this leading.
    pub(super) fn follows_closely(&self, previous: &Self, leading: f32) -> bool {
        self.step(previous).is_some_and(|step| step < 1.3 * leading)
    }
}

/// The usual distance from line to line on a page, in sizes.
pub(crate) fn leading(lines: &[Line]) -> f32 {
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let mut steps: Vec<f32> = pairs
        .filter_map(|(above, below)| below.step(above))
        .filter(|step| (0.7..3.0).contains(step))
        .collect();
    steps.sort_by(f32::total_cmp);
    // The lower quartile, since many short paragraphs make the distance between them the most
    // frequent one.
    steps
        .get(steps.len() / 4)
        .copied()
        .unwrap_or(LEADING)
        .clamp(LEADING, 2.4)
}

/// Join segments that follow each other on one baseline.
pub(crate) fn lines(segments: Vec<Segment>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for segment in segments {
        match lines.last_mut() {
            Some(line) if line.first().is_some_and(|first| is_level(first, &segment)) => {
                line.segments.push(segment)
            }
            _ => lines.push(Line {
                segments: vec![segment],
            }),
        }
    }
    for line in &mut lines {
        line.segments.sort_by(|a, b| a.from.total_cmp(&b.from));
    }
    lines
}

fn is_level(a: &Segment, b: &Segment) -> bool {
    a.is_parallel(b) && (a.across - b.across).abs() <= SHIFT_MAX * a.size.min(b.size)
}

/// Bring lines into reading order.
pub(crate) fn order(lines: Vec<Line>, is_rtl_page: bool) -> Vec<Line> {
    let first = if is_rtl_page { Side::Right } else { Side::Left };
    separate(lines, first, 0)
}

/// Separate columns, of which the `first` side is read first.
fn separate(lines: Vec<Line>, first: Side, depth: usize) -> Vec<Line> {
    if depth >= DEPTH_MAX || lines.len() < LINES_MIN {
        return lines;
    }
    let Some(gutter) = find_gutter(&lines) else {
        return lines;
    };
    let mut ordered = Vec::with_capacity(lines.len());
    let mut block = Vec::new();
    for line in lines {
        if side(&line, gutter) == Side::Across {
            ordered.extend(settle(std::mem::take(&mut block), gutter, first, depth));
            ordered.push(line);
        } else {
            block.push(line);
        }
    }
    ordered.extend(settle(block, gutter, first, depth));
    ordered
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Side {
    Left,
    Right,
    Both,
    Across,
}

fn side(line: &Line, gutter: f32) -> Side {
    if line
        .segments
        .iter()
        .any(|segment| segment.from < gutter && segment.to > gutter)
    {
        return Side::Across;
    }
    match (line.from() < gutter, line.to() > gutter) {
        (true, true) => Side::Both,
        (true, false) => Side::Left,
        _ => Side::Right,
    }
}

/// The place in the middle half of the page that the fewest segments cross, if few enough do.
fn find_gutter(lines: &[Line]) -> Option<f32> {
    // A line from the middle: the first may be a title, or the note along the margin that some
    // archives print.
    let main = lines.get(lines.len() / 2)?.first()?;
    let parallel: Vec<&Line> = lines
        .iter()
        .filter(|line| line.first().is_some_and(|first| first.is_parallel(main)))
        .collect();
    let from = parallel
        .iter()
        .map(|line| line.from())
        .fold(f32::INFINITY, f32::min);
    let to = parallel
        .iter()
        .map(|line| line.to())
        .fold(f32::NEG_INFINITY, f32::max);
    let width = to - from;
    if !(width.is_finite() && width > 2.0 * WIDTH_MIN * main.em.min(TEXT_EM_MAX)) {
        return None;
    }
    // Differences, so that a segment costs the same however many places it crosses.
    let mut crossed = [0_i32; BINS + 1];
    let (left, step) = (from + width * 0.25, width * 0.5 / bins());
    for segment in parallel.iter().flat_map(|line| &line.segments) {
        let (first, end) = (
            bin((segment.from - left) / step),
            bin((segment.to - left) / step),
        );
        for (at, change) in [(first, 1), (end, -1)] {
            if let Some(count) = crossed.get_mut(at) {
                *count += change;
            }
        }
    }
    let counts: Vec<i32> = crossed
        .iter()
        .take(BINS)
        .scan(0, |sum, change| Some(advance(sum, *change)))
        .collect();
    let least = counts.iter().copied().min()?;
    let first = counts.iter().position(|&count| count == least)?;
    let run = counts
        .iter()
        .skip(first)
        .take_while(|&&count| count == least)
        .count();
    let is_rare = usize::try_from(least).is_ok_and(|least| least * 3 < parallel.len());
    is_rare.then(|| left + step * (share(first) + share(first + run - 1)) / 2.0)
}

fn advance(sum: &mut i32, change: i32) -> i32 {
    *sum += change;
    *sum
}

/// The first place at or after a distance counted in places.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the number of places before"
)]
fn bin(place: f32) -> usize {
    place.ceil().clamp(0.0, bins()) as usize
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn share(bin: usize) -> f32 {
    bin as f32
}

fn bins() -> f32 {
    share(BINS)
}

/// Separate a block that no line crosses, if it is two columns of text drawn alternately.
fn settle(block: Vec<Line>, gutter: f32, first: Side, depth: usize) -> Vec<Line> {
    if !is_drawn_alternately(&block, gutter) || !are_columns_of_text(&block, gutter) {
        return block;
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for line in block {
        let (before, after): (Vec<_>, Vec<_>) = line
            .segments
            .into_iter()
            .partition(|segment| segment.from < gutter);
        for (column, segments) in [(&mut left, before), (&mut right, after)] {
            if !segments.is_empty() {
                column.push(Line { segments });
            }
        }
    }
    let (before, after) = if first == Side::Right {
        (right, left)
    } else {
        (left, right)
    };
    let mut ordered = separate(before, first, depth + 1);
    ordered.extend(separate(after, first, depth + 1));
    ordered
}

/// Whether the pen went from one side to the other and back many times.
fn is_drawn_alternately(block: &[Line], gutter: f32) -> bool {
    let sides: Vec<Side> = block.iter().map(|line| side(line, gutter)).collect();
    let both = sides.iter().filter(|&&side| side == Side::Both).count();
    let turns = sides
        .windows(2)
        .filter(|pair| pair.first() != pair.last())
        .count();
    both >= LINES_MIN || both + turns / 2 >= LINES_MIN && turns * 2 > block.len()
}

fn are_columns_of_text(block: &[Line], gutter: f32) -> bool {
    let side_is_text = |is_left: bool| {
        let mut widths = Vec::new();
        let (mut from, mut to, mut em) = (f32::INFINITY, f32::NEG_INFINITY, 0_f32);
        for line in block {
            let part = line
                .segments
                .iter()
                .filter(|segment| (segment.from < gutter) == is_left);
            let (start, end) = part
                .clone()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(start, end), s| {
                    (start.min(s.from), end.max(s.to))
                });
            if end > start {
                // Words of justified text may stand apart; what is between columns of a table is
                // wider.
                widths.push(part.map(|segment| segment.to - segment.from).sum::<f32>());
                (from, to) = (from.min(start), to.max(end));
            }
            em = line
                .segments
                .iter()
                .fold(em, |em, segment| em.max(segment.em.min(TEXT_EM_MAX)));
        }
        widths.sort_by(f32::total_cmp);
        let middle = widths.get(widths.len() / 2).copied().unwrap_or(0.0);
        widths.len() >= LINES_MIN && to - from >= WIDTH_MIN * em && middle >= FILL_MIN * (to - from)
    };
    side_is_text(true) && side_is_text(false)
}
