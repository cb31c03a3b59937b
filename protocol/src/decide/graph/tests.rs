//! Each rule of the graph on a few tasks, and its costs on many.

use super::Command::{Forget, LetGo, Refuse, Release, Reopen, Resolve, Stop};
use super::*;
use crate::id::TaskIndex;

mod fleet;
mod model;

fn submitted(task: TaskIndex, inputs: &[TaskIndex]) -> Event {
    Event::Submitted {
        task,
        inputs: inputs.to_vec(),
        repeatable: true,
    }
}

fn completed(task: TaskIndex) -> Event {
    Event::Ended {
        task,
        how: Ended::Completed,
    }
}

fn failed(task: TaskIndex) -> Event {
    Event::Ended {
        task,
        how: Ended::Failed,
    }
}

fn lost(result: TaskIndex, dependent: impl Into<Option<TaskIndex>>) -> Event {
    Event::Lost {
        result,
        dependent: dependent.into(),
    }
}

/// A graph of tasks with these inputs, and what was commanded meanwhile.
fn graph(tasks: &[(TaskIndex, &[TaskIndex])]) -> Graph {
    let mut graph = Graph::default();
    for (task, inputs) in tasks {
        let _ = graph.on(submitted(*task, inputs));
    }
    graph
}

/// Passes in events, and returns the commands of all of them.
fn on(graph: &mut Graph, events: impl IntoIterator<Item = Event>) -> Vec<Command> {
    events
        .into_iter()
        .flat_map(|event| graph.on(event))
        .collect()
}

fn path(tasks: &[TaskIndex]) -> Path {
    Path {
        cause: tasks[0],
        tasks: tasks.to_vec(),
        omitted: 0,
    }
}

#[track_caller]
fn check<const N: usize>(graph: &mut Graph, event: Event, expected: [Command; N]) {
    assert_eq!(graph.on(event), expected);
}

#[test]
fn a_task_is_released_when_its_last_input_completed_and_an_input_named_twice_counts_once() {
    let mut graph = Graph::default();
    check(&mut graph, submitted(0, &[]), [Release(0)]);
    check(&mut graph, submitted(1, &[]), [Release(1)]);
    check(&mut graph, submitted(2, &[1, 0, 1]), []);
    assert_eq!(graph.edges(), 2);
    check(&mut graph, completed(1), [Resolve(1, End::Completed)]);
    check(
        &mut graph,
        completed(0),
        [Resolve(0, End::Completed), Release(2)],
    );
    check(&mut graph, completed(2), [Resolve(2, End::Completed)]);
}

#[test]
fn a_task_whose_inputs_are_held_already_is_released_at_once() {
    let mut graph = graph(&[(0, &[])]);
    let _ = graph.on(completed(0));
    check(&mut graph, submitted(1, &[0]), [Release(1)]);
}

#[test]
fn a_second_ending_and_a_second_submission_change_nothing() {
    let mut graph = graph(&[(0, &[]), (1, &[0])]);
    check(
        &mut graph,
        failed(0),
        [
            Resolve(0, End::Failed),
            Resolve(1, End::UpstreamFailed(path(&[0, 1]))),
        ],
    );
    check(&mut graph, completed(0), []);
    check(&mut graph, completed(1), []);
    check(&mut graph, submitted(0, &[]), []);
    let commands = on(&mut graph, [Event::Unwanted(0), Event::Unwanted(1)]);
    assert_eq!(commands, [Forget(1), Forget(0)]);
    check(&mut graph, submitted(0, &[]), []);
    assert!(graph.is_empty());
}

#[test]
fn tasks_with_inputs_that_are_unknown_forgotten_or_not_before_them_are_refused() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[])]);
    let _ = on(&mut graph, [completed(0), Event::Unwanted(0)]);
    let before = graph.counts();
    for (inputs, refusal) in [
        (vec![1, 0], Refusal::Forgotten(0)),
        (vec![1, 3], Refusal::Unknown(3)),
        (vec![5], Refusal::NotBefore(5)),
        (vec![6], Refusal::NotBefore(6)),
    ] {
        check(&mut graph, submitted(5, &inputs), [Refuse(5, refusal)]);
        assert_eq!((graph.counts(), graph.edges()), (before, 0));
    }
    check(
        &mut graph,
        submitted(TaskIndex::MAX, &[]),
        [Refuse(TaskIndex::MAX, Refusal::Full)],
    );
    // A refused index may be submitted again.
    check(&mut graph, submitted(5, &[1]), []);
}

#[test]
fn a_failure_reaches_all_tasks_below_without_running_them_and_stops_what_only_they_need() {
    let tasks: [(TaskIndex, &[TaskIndex]); 5] =
        [(0, &[]), (1, &[]), (2, &[0, 1]), (3, &[2]), (4, &[1])];
    let mut graph = graph(&tasks);
    let _ = on(&mut graph, [1, 4].map(Event::Unwanted));
    // Nothing needed 4, and it was forgotten.
    assert_eq!(graph.counts().total(), 4);
    check(
        &mut graph,
        failed(0),
        [
            Resolve(0, End::Failed),
            Resolve(2, End::UpstreamFailed(path(&[0, 2]))),
            Resolve(3, End::UpstreamFailed(path(&[0, 2, 3]))),
            Stop(1),
        ],
    );
    check(
        &mut graph,
        submitted(5, &[3]),
        [Resolve(5, End::UpstreamFailed(path(&[0, 2, 3, 5])))],
    );
}

#[test]
fn a_path_names_the_first_and_the_last_tasks_and_how_many_are_between() {
    let mut graph = graph(&[(0, &[])]);
    for task in 1..100 {
        let _ = graph.on(submitted(task, &[task - 1]));
    }
    let told = graph.on(failed(0));
    assert_eq!(told.len(), 100);
    for command in &told[1..] {
        let Resolve(task, End::UpstreamFailed(path)) = command else {
            panic!("{command:?}");
        };
        let all: Vec<TaskIndex> = (0..=*task).collect();
        let named = if all.len() <= PATH_TASKS_MAX {
            all.clone()
        } else {
            let half = PATH_TASKS_MAX / 2;
            [&all[..half], &all[all.len() - half..]].concat()
        };
        assert_eq!((path.cause, &path.tasks), (0, &named));
        assert_eq!(path.omitted, (all.len() - named.len()) as u64);
    }
    let Some(Resolve(99, End::UpstreamFailed(path))) = told.last() else {
        panic!("{:?}", told.last());
    };
    let text = "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> (84 more) -> \
                92 -> 93 -> 94 -> 95 -> 96 -> 97 -> 98 -> 99";
    assert_eq!(path.to_string(), text);
}

#[test]
fn of_several_paths_to_the_cause_a_shortest_is_told() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1]), (3, &[2]), (4, &[1, 3])]);
    let told = graph.on(failed(0));
    let end = End::UpstreamFailed(path(&[0, 1, 4]));
    assert!(told.contains(&Resolve(4, end)), "{told:?}");
}

#[test]
fn a_result_is_let_go_when_it_is_unwanted_and_its_last_dependent_ended() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[0])]);
    let _ = graph.on(completed(0));
    check(&mut graph, Event::Unwanted(0), []);
    check(&mut graph, completed(1), [Resolve(1, End::Completed)]);
    check(
        &mut graph,
        completed(2),
        [Resolve(2, End::Completed), LetGo(0)],
    );
    // Its definition is kept for them.
    check(&mut graph, Event::Unwanted(1), [LetGo(1), Forget(1)]);
    check(
        &mut graph,
        Event::Unwanted(2),
        [LetGo(2), Forget(2), Forget(0)],
    );
    assert!(graph.is_empty());
}

#[test]
fn what_nothing_needs_is_stopped_or_never_released_and_what_others_need_runs_on() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[0, 1]), (3, &[1]), (4, &[2])]);
    let _ = on(&mut graph, [0, 1, 2, 3].map(Event::Unwanted));
    // 3 waited, and nothing needed it; 4 needs the others.
    assert_eq!(graph.counts().total(), 4);
    let commands = graph.on(Event::Unwanted(4));
    assert_eq!(
        commands,
        [Forget(4), Forget(2), Stop(1), Forget(1), Stop(0), Forget(0)]
    );
    check(&mut graph, completed(0), []);
    assert!(graph.is_empty());
}

#[test]
fn cancelling_a_task_cancels_what_waits_for_it_and_stops_what_only_it_needs() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[0, 1]), (3, &[2]), (4, &[1])]);
    let _ = on(&mut graph, [0, 1].map(Event::Unwanted));
    check(
        &mut graph,
        Event::Cancel(2),
        [
            Resolve(2, End::Cancelled),
            Resolve(3, End::UpstreamCancelled(path(&[2, 3]))),
            Stop(0),
        ],
    );
    check(&mut graph, Event::Cancel(2), []);
    // It had been stopped already; its definition is kept for 2.
    check(&mut graph, completed(0), [LetGo(0)]);
    check(
        &mut graph,
        Event::Cancel(1),
        [Stop(1), Resolve(4, End::UpstreamCancelled(path(&[1, 4])))],
    );
}

#[test]
fn a_task_that_completed_can_not_be_cancelled() {
    let mut graph = graph(&[(0, &[]), (1, &[0])]);
    let _ = graph.on(completed(0));
    check(&mut graph, Event::Cancel(0), []);
    check(&mut graph, Event::Cancel(7), []);
    assert_eq!((graph.counts().held, graph.counts().released), (1, 1));
}

#[test]
fn a_vanished_result_is_computed_again_with_the_inputs_that_were_let_go() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1]), (3, &[2])]);
    let _ = on(&mut graph, [0, 1, 2].map(Event::Unwanted));
    let _ = on(&mut graph, [0, 1, 2].map(completed));
    assert_eq!((graph.counts().idle, graph.counts().held), (2, 1));
    check(&mut graph, lost(2, 3), [Reopen(2), Release(0)]);
    assert_eq!(graph.counts().waiting, 3);
    check(&mut graph, lost(2, 3), []);
    check(&mut graph, completed(0), [Release(1)]);
    check(&mut graph, completed(1), [LetGo(0), Release(2)]);
    check(&mut graph, completed(2), [LetGo(1), Release(3)]);
}

#[test]
fn a_vanished_result_that_is_wanted_is_told_again_when_it_is_there_again() {
    let mut graph = graph(&[(0, &[])]);
    check(&mut graph, completed(0), [Resolve(0, End::Completed)]);
    check(&mut graph, lost(0, None), [Reopen(0), Release(0)]);
    check(&mut graph, completed(0), [Resolve(0, End::Completed)]);
    check(&mut graph, lost(0, 17), [Reopen(0), Release(0)]);
    check(&mut graph, failed(0), [Resolve(0, End::Failed)]);
}

#[test]
fn many_dependents_that_meet_the_same_loss_count_it_once() {
    let mut graph = graph(&[(0, &[])]);
    let _ = graph.on(completed(0));
    for task in 1..=100 {
        check(&mut graph, submitted(task, &[0]), [Release(task)]);
    }
    check(&mut graph, lost(0, 1), [Reopen(0), Release(0)]);
    check(&mut graph, lost(0, 2), []);
    check(
        &mut graph,
        completed(0),
        [Resolve(0, End::Completed), Release(1), Release(2)],
    );
    for task in 3..=100 {
        check(&mut graph, lost(0, task), [Release(task)]);
    }
    // It was released after the loss, so this is another one.
    check(&mut graph, lost(0, 50), [Reopen(0), Release(0)]);
}

#[test]
fn a_result_that_vanishes_too_often_is_unrecoverable_until_it_is_tried_again() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1])]);
    let _ = graph.on(completed(0));
    for _ in 0..LOSSES_MAX {
        check(&mut graph, lost(0, 1), [Reopen(0), Release(0)]);
        check(
            &mut graph,
            completed(0),
            [Resolve(0, End::Completed), Release(1)],
        );
    }
    check(
        &mut graph,
        lost(0, 1),
        [
            Reopen(0),
            Resolve(0, End::Unrecoverable(path(&[0]))),
            Resolve(1, End::Unrecoverable(path(&[0, 1]))),
            Resolve(2, End::Unrecoverable(path(&[0, 1, 2]))),
        ],
    );
    check(
        &mut graph,
        Event::Retry(0),
        [Reopen(0), Reopen(1), Reopen(2), Release(0)],
    );
    assert_eq!(graph.counts().waiting, 2);
}

#[test]
fn what_is_not_repeatable_is_not_run_again_after_it_completed() {
    let mut graph = Graph::default();
    let _ = graph.on(Event::Submitted {
        task: 0,
        inputs: Vec::new(),
        repeatable: false,
    });
    let _ = graph.on(submitted(1, &[0]));
    let _ = graph.on(submitted(2, &[1]));
    let _ = on(&mut graph, [0, 1].map(Event::Unwanted));
    let _ = on(&mut graph, [0, 1].map(completed));
    // It was let go when 1 had completed.
    check(
        &mut graph,
        lost(1, 2),
        [Reopen(1), Resolve(2, End::Unrecoverable(path(&[0, 1, 2])))],
    );
    let counts = graph.counts();
    assert_eq!((counts.unrecoverable, counts.blocked), (1, 2));
    check(&mut graph, Event::Retry(0), [Reopen(2), Release(0)]);
}

#[test]
fn dependents_that_were_released_run_on_when_a_lost_input_can_not_be_computed_again() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[0])]);
    let _ = on(&mut graph, [completed(0), lost(0, 1)]);
    check(
        &mut graph,
        failed(0),
        [
            Resolve(0, End::Failed),
            Resolve(1, End::UpstreamFailed(path(&[0, 1]))),
        ],
    );
    check(
        &mut graph,
        lost(0, 2),
        [Resolve(2, End::UpstreamFailed(path(&[0, 2])))],
    );
}

#[test]
fn a_retry_takes_along_what_failed_because_of_it_and_not_what_failed_otherwise() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[0]), (3, &[1]), (4, &[2, 3])]);
    let _ = on(&mut graph, [failed(0), failed(1)]);
    assert_eq!([0, 1, 4].map(|task| graph.cause(task)), [0, 1, 0].map(Some));
    // It failed because of another one, so there is nothing to try.
    check(&mut graph, Event::Retry(4), []);
    check(
        &mut graph,
        Event::Retry(0),
        [
            Reopen(0),
            Reopen(2),
            Reopen(4),
            Resolve(4, End::UpstreamFailed(path(&[1, 3, 4]))),
            Release(0),
        ],
    );
    assert_eq!(
        [0, 2, 4].map(|task| graph.cause(task)),
        [None, None, Some(1)]
    );
    check(
        &mut graph,
        completed(0),
        [Resolve(0, End::Completed), Release(2)],
    );
    assert_eq!(graph.cause(0), None);
    check(
        &mut graph,
        Event::Retry(1),
        [Reopen(1), Reopen(3), Reopen(4), Release(1)],
    );
    let _ = on(&mut graph, [completed(2), completed(1)]);
    check(
        &mut graph,
        completed(3),
        [Resolve(3, End::Completed), Release(4)],
    );
}

#[test]
fn a_retry_computes_inputs_that_were_let_go_again() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1])]);
    let _ = on(&mut graph, [0, 1].map(Event::Unwanted));
    let _ = on(&mut graph, [completed(0), failed(1)]);
    assert_eq!(graph.counts().idle, 1);
    check(&mut graph, Event::Retry(1), [Reopen(2), Release(0)]);
    check(&mut graph, completed(0), [Release(1)]);
}

#[test]
fn a_retry_of_what_nothing_needs_starts_nothing() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[0, 1])]);
    let _ = on(&mut graph, [failed(0), failed(1), Event::Unwanted(1)]);
    check(&mut graph, Event::Retry(1), []);
    assert_eq!(graph.counts().idle, 1);
    // 2 failed because of 0.
    check(
        &mut graph,
        Event::Retry(0),
        [Reopen(0), Reopen(2), Release(0), Release(1)],
    );
}

#[test]
fn what_is_wanted_again_is_told_again_or_run_again() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1])]);
    check(&mut graph, Event::Unwanted(0), []);
    check(&mut graph, Event::Wanted(0), []);
    let _ = on(&mut graph, [completed(0), Event::Unwanted(0)]);
    check(&mut graph, Event::Wanted(0), [Resolve(0, End::Completed)]);
    check(&mut graph, Event::Wanted(0), []);
    let _ = on(&mut graph, [Event::Unwanted(0), completed(1)]);
    assert_eq!(graph.counts().idle, 1);
    check(&mut graph, Event::Wanted(0), [Release(0)]);
    check(&mut graph, Event::Unwanted(0), [Stop(0)]);
    check(&mut graph, Event::Wanted(0), [Release(0)]);
}

#[test]
fn an_ending_that_comes_before_those_of_the_inputs_counts() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1])]);
    let _ = graph.on(Event::Unwanted(0));
    check(
        &mut graph,
        completed(1),
        [Resolve(1, End::Completed), Stop(0), Release(2)],
    );
    check(&mut graph, completed(0), [LetGo(0)]);
}

#[test]
fn what_alone_takes_a_result_and_takes_nothing_else_can_follow_where_that_is_made() {
    let mut graph = graph(&[(0, &[]), (1, &[0]), (2, &[1]), (3, &[]), (4, &[2, 3])]);
    let followers = |graph: &Graph| [0, 1, 2, 3, 4].map(|task| graph.follower(task));
    assert_eq!(followers(&graph), [Some(1), Some(2), None, None, None]);
    // Another takes the result of 1, too: both are released when it is there.
    on(&mut graph, [submitted(5, &[1])]);
    assert_eq!(followers(&graph), [Some(1), None, None, None, None]);
    // What has the result is on its way.
    on(&mut graph, [completed(0)]);
    assert_eq!(graph.follower(0), None);
    on(&mut graph, [completed(1), completed(2), completed(3)]);
    assert_eq!(graph.follower(3), None);
    let drawn = Event::Submitted {
        task: 6,
        inputs: vec![4],
        repeatable: false,
    };
    on(&mut graph, [drawn]);
    assert_eq!(
        graph.follower(4),
        None,
        "it may give something else in a second run"
    );
    assert_eq!(graph.follower(99), None);
}

#[test]
fn events_about_unknown_tasks_change_nothing() {
    let mut graph = Graph::default();
    let events = [
        completed(0),
        Event::Unwanted(0),
        Event::Wanted(0),
        Event::Cancel(0),
        Event::Retry(0),
        lost(0, 1),
    ];
    assert_eq!(on(&mut graph, events), []);
    check(&mut graph, submitted(0, &[]), [Release(0)]);
}

/// Unused capacity of the vectors included, at the worst moment of their growth.
#[test]
fn a_waiting_task_with_three_inputs_takes_less_than_170_bytes() {
    let mut graph = graph(&[(0, &[]), (1, &[]), (2, &[])]);
    let mut worst = 0;
    for task in 3..20_000 {
        let _ = graph.on(submitted(task, &[task - 3, task - 2, task - 1]));
        if task > 1000 {
            worst = worst.max(graph.nodes.bytes() as u64 / task);
        }
    }
    assert!((100..170).contains(&worst), "{worst} bytes");
    let _ = on(&mut graph, (0..20_000).map(Event::Unwanted));
    assert_eq!((graph.nodes.bytes(), graph.submitted.ranges()), (0, 1));
}

const MANY: TaskIndex = 100_000;

#[test]
fn a_long_chain_fails_recovers_and_is_forgotten_without_a_deep_stack() {
    let mut graph = graph(&[(0, &[])]);
    for task in 1..MANY {
        let _ = graph.on(submitted(task, &[task - 1]));
    }
    assert_eq!(graph.on(failed(0)).len() as u64, MANY);
    assert_eq!(graph.on(Event::Retry(0)).len() as u64, MANY + 1);
    let _ = on(&mut graph, (0..MANY - 1).map(Event::Unwanted));
    let _ = on(&mut graph, (0..MANY).map(completed));
    assert_eq!(graph.counts().idle as u64, MANY - 1);
    check(
        &mut graph,
        lost(MANY - 1, None),
        [Reopen(MANY - 1), Release(0)],
    );
    assert_eq!(graph.on(Event::Unwanted(MANY - 1)).len() as u64, MANY + 1);
    assert!(graph.is_empty());
}

#[test]
fn one_input_of_very_many_loses_them_one_by_one_in_one_step_each() {
    let mut graph = graph(&[(0, &[])]);
    for task in 1..MANY {
        let _ = graph.on(submitted(task, &[0]));
    }
    assert_eq!(graph.on(completed(0)).len() as u64, MANY);
    for task in (1..MANY).step_by(2).chain((2..MANY).step_by(2)) {
        check(
            &mut graph,
            Event::Unwanted(task),
            [Stop(task), Forget(task)],
        );
    }
    check(&mut graph, Event::Unwanted(0), [LetGo(0), Forget(0)]);
}

#[test]
fn one_task_with_very_many_inputs_that_all_vanish_waits_for_them_once() {
    let mut graph = Graph::default();
    for task in 0..MANY {
        let _ = on(&mut graph, [submitted(task, &[]), completed(task)]);
    }
    let all: Vec<TaskIndex> = (0..MANY).collect();
    check(&mut graph, submitted(MANY, &all), [Release(MANY)]);
    for task in 0..MANY {
        check(&mut graph, lost(task, MANY), [Reopen(task), Release(task)]);
    }
    let commands = on(&mut graph, (0..MANY).map(completed));
    assert_eq!(commands.last(), Some(&Release(MANY)));
}

#[test]
fn a_wide_graph_of_100000_tasks_with_300000_inputs_runs_through() {
    let mut graph = Graph::default();
    let mut ready = Vec::new();
    let mut state = 1_u64;
    for task in 0..MANY {
        let inputs: Vec<TaskIndex> = (0..3.min(task))
            .map(|_| {
                // A linear congruential generator: any spread will do.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % task
            })
            .collect();
        ready.extend(graph.on(submitted(task, &inputs)));
    }
    let mut ended = 0;
    while let Some(command) = ready.pop() {
        if let Release(task) = command {
            ready.extend(graph.on(completed(task)));
            ready.extend(graph.on(Event::Unwanted(task)));
            ended += 1;
        }
    }
    assert_eq!(ended, MANY);
    assert!(graph.is_empty());
}
