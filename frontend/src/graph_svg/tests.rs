//! Drawings of small and of large graphs.

use std::collections::BTreeMap;
use std::time::Duration;

use sortie::Counted;
use sortie::protocol::{
    Digest, FunctionOptions, FunctionRef, Job, JobFunction, JobKey, JobRecord, JobState, Timestamp,
};

use super::*;

/// A graph of `count` tasks of two functions, of which each takes the result of the one that is
/// half as far.
fn halves(names: [&str; 2], count: u64) -> JobGraph {
    let functions = names.map(|name| JobFunction {
        function: FunctionRef {
            component: Digest::of(b"component"),
            name: name.into(),
        },
        options: FunctionOptions::default(),
    });
    let key = JobKey {
        tenant: "default".parse().unwrap(),
        job: "job-00000000000000000000000000000001".parse().unwrap(),
    };
    let tasks = (0..count).map(|index| {
        let task = GraphTask {
            function: FunctionIndex::try_from(index % 2).ok(),
            inputs: (index > 0).then_some(index / 2).into_iter().collect(),
            state: match index % 4 {
                0 => TaskState::Failed,
                1 => TaskState::Waiting,
                _ => TaskState::Completed,
            },
            time: Duration::from_millis(1),
        };
        (index, task)
    });
    JobGraph {
        record: JobRecord {
            job: Job {
                key,
                functions: functions.into(),
                parent: None,
            },
            created: Timestamp::default(),
            state: JobState::Open,
            readers: Default::default(),
            gathered: None,
        },
        tasks: tasks.collect::<BTreeMap<_, _>>(),
        unknown: 0,
        counted: Counted::All,
    }
}

fn occurrences(svg: &str, part: &str) -> usize {
    svg.matches(part).count()
}

#[test]
fn few_tasks_have_a_box_each_and_a_line_to_what_they_take() {
    let svg = draw(&halves(["load", "merge"], 8));
    assert_eq!(occurrences(&svg, "<g><title>"), 8);
    assert_eq!(occurrences(&svg, "<path "), 7);
    for part in [
        "task 3: merge",
        ">6 load<",
        "2 failed",
        "2 waiting",
        "4 completed",
    ] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(!svg.contains("released"), "{svg}");
    // 0, 1, 2, 4 is the longest way, with as many of 8.
    assert_eq!(occurrences(&svg, "stroke=\"#111827\""), 4);
}

#[test]
fn many_tasks_share_boxes_whose_number_does_not_grow_with_them() {
    let svg = draw(&halves(["load", "merge"], 100_000));
    // Two functions on each of 18 levels, but the first two.
    assert!(occurrences(&svg, "<g><title>") <= 36);
    assert!(svg.contains("load x "), "{svg}");
    assert!(svg.len() < 50_000);
}

#[test]
fn a_drawing_is_xml_whatever_a_component_calls_its_functions() {
    let svg = draw(&halves(["<script>\u{0}", "\"&\u{ffff}]]>"], 2));
    assert!(!svg.contains("<script") && !svg.contains('\u{0}') && !svg.contains('\u{ffff}'));
    assert!(
        svg.contains("&lt;script&gt;") && svg.contains("&quot;&amp;]]&gt;"),
        "{svg}"
    );
    let empty = draw(&halves(["f", "g"], 0));
    assert!(empty.starts_with("<svg ") && empty.ends_with("</svg>\n"));
}
