//! Draws a job's graph as SVG 1.1, coloured by how its tasks stand.
//!
//! Each task has a box in the column of its level: those that take no results are at the left. Of a
//! graph with more than [`BOXES_MAX`] tasks, those of one function on one level share a box, which
//! is coloured in parts, and lines between boxes stand for all between their tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sortie::protocol::{FunctionIndex, TaskIndex};
use sortie::{GraphTask, JobGraph, TaskState};

/// The most tasks that are drawn one by one.
pub const BOXES_MAX: usize = 400;
/// The longest name of a function in a box, in characters; its tooltip has all of it.
const NAME_CHARS_MAX: usize = 18;

const BOX_WIDTH: usize = 150;
const BOX_HEIGHT: usize = 26;
const COLUMN: usize = BOX_WIDTH + 70;
const ROW: usize = BOX_HEIGHT + 10;
const MARGIN: usize = 16;
/// Where boxes begin, below the legend.
const TOP: usize = 48;

/// Tasks that are drawn as one.
#[derive(Debug, Default)]
struct Group {
    level: usize,
    /// The row in the column of its level.
    row: usize,
    function: Option<FunctionIndex>,
    /// How many tasks there are of each state, in the order of [`TaskState::ALL`].
    counts: [usize; TaskState::ALL.len()],
    /// The task, if it is one alone.
    task: Option<TaskIndex>,
    is_critical: bool,
}

impl Group {
    fn left(&self) -> usize {
        MARGIN + self.level * COLUMN
    }

    fn top(&self) -> usize {
        TOP + self.row * ROW
    }

    fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    fn add(&mut self, task: &GraphTask) {
        let place = TaskState::ALL.iter().position(|state| *state == task.state);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
    }
}

/// What is drawn: groups, and the lines between them, by their places.
#[derive(Debug, Default)]
struct Drawing {
    groups: Vec<Group>,
    lines: BTreeSet<(usize, usize)>,
}

/// The graph as an SVG document.
#[must_use]
pub fn draw(graph: &JobGraph) -> String {
    let drawing = Drawing::of(graph);
    let columns = drawing.groups.iter().map(|group| group.level + 1).max();
    let rows = drawing.groups.iter().map(|group| group.row + 1).max();
    let width = (2 * MARGIN + columns.unwrap_or(0) * COLUMN).max(760);
    let height = TOP + rows.unwrap_or(0) * ROW + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(graph, &mut svg);
    for (from, to) in &drawing.lines {
        if let (Some(from), Some(to)) = (drawing.groups.get(*from), drawing.groups.get(*to)) {
            line(from, to, &mut svg);
        }
    }
    for group in &drawing.groups {
        boxed(graph, group, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Drawing {
    fn of(graph: &JobGraph) -> Self {
        let levels = graph.levels();
        let critical: BTreeSet<TaskIndex> = graph.critical_path().0.into_iter().collect();
        let is_whole = graph.tasks.len() <= BOXES_MAX;
        let mut drawing = Self::default();
        let mut places: BTreeMap<(usize, Option<FunctionIndex>, Option<TaskIndex>), usize> =
            BTreeMap::new();
        let mut place_of: BTreeMap<TaskIndex, usize> = BTreeMap::new();
        let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, task) in &graph.tasks {
            let level = levels.get(index).copied().unwrap_or_default();
            let alone = is_whole.then_some(*index);
            let place = *places
                .entry((level, task.function, alone))
                .or_insert_with(|| {
                    let row = rows.entry(level).or_default();
                    drawing.groups.push(Group {
                        level,
                        row: *row,
                        function: task.function,
                        task: alone,
                        ..Group::default()
                    });
                    *row += 1;
                    drawing.groups.len() - 1
                });
            place_of.insert(*index, place);
            if let Some(group) = drawing.groups.get_mut(place) {
                group.add(task);
                group.is_critical |= critical.contains(index);
            }
            let from = task.inputs.iter().filter_map(|input| place_of.get(input));
            let lines = from.filter(|from| **from != place);
            drawing.lines.extend(lines.map(|from| (*from, place)));
        }
        drawing
    }
}

/// How many tasks there are of each state, in its colour.
fn legend(graph: &JobGraph, svg: &mut String) {
    let mut left = MARGIN;
    let counts = graph.counts();
    for (place, state) in TaskState::ALL.into_iter().enumerate() {
        let counted = counts.values().filter_map(|counts| counts.get(place));
        let count: u64 = counted.sum();
        if count > 0 {
            let colour = colour(state);
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"14\" width=\"14\" height=\"14\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"25\">{count} {}</text>",
                left + 20,
                state.as_str()
            );
            left += 120;
        }
    }
}

fn line(from: &Group, to: &Group, svg: &mut String) {
    let (x1, y1) = (from.left() + BOX_WIDTH, from.top() + BOX_HEIGHT / 2);
    let (x2, y2) = (to.left(), to.top() + BOX_HEIGHT / 2);
    let (half, width) = (
        x1.midpoint(x2),
        if from.is_critical && to.is_critical {
            2
        } else {
            1
        },
    );
    let _ = writeln!(
        svg,
        "<path d=\"M{x1} {y1} C{half} {y1} {half} {y2} {x2} {y2}\" fill=\"none\" \
         stroke=\"#6b7280\" stroke-opacity=\"0.6\" stroke-width=\"{width}\"/>"
    );
}

fn boxed(graph: &JobGraph, group: &Group, svg: &mut String) {
    let name = graph.function_name(group.function).unwrap_or("?");
    let count = group.count();
    let (label, title) = match group.task {
        Some(index) => (
            format!("{index} {}", cut(name)),
            format!("task {index}: {name}"),
        ),
        None => (
            format!("{} x {count}", cut(name)),
            format!("{name}: {count} tasks"),
        ),
    };
    let (left, top) = (group.left(), group.top());
    let _ = write!(svg, "<g><title>{}", escaped(&title));
    for (state, count) in TaskState::ALL.into_iter().zip(group.counts) {
        if count > 0 {
            let _ = write!(svg, "\n{count} {}", state.as_str());
        }
    }
    svg.push_str("</title>");
    let mut begin = left;
    let mut before = 0;
    for (state, part) in TaskState::ALL.into_iter().zip(group.counts) {
        before += part;
        let end = left + BOX_WIDTH * before / count.max(1);
        if part > 0 {
            let _ = write!(
                svg,
                "<rect x=\"{begin}\" y=\"{top}\" width=\"{}\" height=\"{BOX_HEIGHT}\" fill=\"{}\"/>",
                end - begin,
                colour(state)
            );
        }
        begin = end;
    }
    let (border, width) = if group.is_critical {
        ("#111827", 2)
    } else {
        ("#9ca3af", 1)
    };
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" \
         fill=\"none\" stroke=\"{border}\" stroke-width=\"{width}\"/>\
         <text x=\"{}\" y=\"{}\">{}</text></g>",
        left + 6,
        top + 17,
        escaped(&label)
    );
}

/// Colours that people with a red-green weakness tell apart, light enough for black text.
fn colour(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "#e5e7eb",
        TaskState::Released => "#93c5fd",
        TaskState::Completed => "#6ee7b7",
        TaskState::Failed => "#f87171",
        TaskState::Cancelled => "#fcd34d",
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    let begin: String = name.chars().take(NAME_CHARS_MAX - 1).collect();
    begin + "…"
}

/// Text as XML has it. Names come from components, so anything may be in them.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no characters of these two kinds.
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
