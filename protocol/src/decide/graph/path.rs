//! Tells how a task ended, with the path by which a failure reached it.
//!
//! A blocked task refers to the input that blocked it and to the end of its path's first half, so
//! both halves are read in at most [`PATH_TASKS_MAX`] steps, however long the path is.

use super::messages::{End, PATH_TASKS_MAX, Path};
use super::nodes::{Block, NodeKey, Nodes, State};

/// How many tasks are named at either end of a path.
const HALF: u32 = {
    assert!(PATH_TASKS_MAX.is_multiple_of(2) && PATH_TASKS_MAX <= 1024);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it was compared with 1024 above"
    )]
    {
        (PATH_TASKS_MAX / 2) as u32
    }
};

/// What blocks `task`, one of whose inputs is `via`.
pub(super) fn block(nodes: &Nodes, task: NodeKey, via: NodeKey) -> Block {
    let (depth, head) = match nodes.get(via).map(|node| node.state()) {
        Some(State::Blocked(block)) => (block.depth.saturating_add(1), block.head),
        Some(_) | None => (1, via),
    };
    let head = if depth < HALF { task } else { head };
    Block { via, head, depth }
}

/// How a task ended; `None` if it has not ended.
pub(super) fn end(nodes: &Nodes, task: NodeKey) -> Option<End> {
    match nodes.get(task)?.state() {
        State::Idle | State::Waiting { .. } | State::Released => None,
        State::Held => Some(End::Completed),
        State::Failed => Some(End::Failed),
        State::Cancelled => Some(End::Cancelled),
        State::Unrecoverable | State::Blocked(_) => {
            let (path, cause) = path(nodes, task)?;
            Some(match cause {
                State::Cancelled => End::UpstreamCancelled(path),
                State::Unrecoverable => End::Unrecoverable(path),
                State::Failed
                | State::Blocked(_)
                | State::Idle
                | State::Waiting { .. }
                | State::Released
                | State::Held => End::UpstreamFailed(path),
            })
        }
    }
}

/// The path to a task that failed, and the state of its cause.
fn path(nodes: &Nodes, task: NodeKey) -> Option<(Path, State)> {
    let mut tasks = Vec::new();
    let mut omitted = 0;
    let mut next = Some(task);
    let mut cause = nodes.get(task)?;
    if let State::Blocked(block) = cause.state()
        && block.depth >= 2 * HALF
    {
        omitted = block.depth + 1 - 2 * HALF;
        for _ in 0..HALF {
            let node = nodes.get(next?)?;
            tasks.push(node.task);
            next = via(node.state());
        }
        next = Some(block.head);
    }
    while let Some(key) = next
        && tasks.len() < PATH_TASKS_MAX
    {
        cause = nodes.get(key)?;
        tasks.push(cause.task);
        next = via(cause.state());
    }
    tasks.reverse();
    let path = Path {
        cause: cause.task,
        tasks,
        omitted: omitted.into(),
    };
    Some((path, cause.state()))
}

fn via(state: State) -> Option<NodeKey> {
    match state {
        State::Blocked(block) => Some(block.via),
        State::Idle
        | State::Waiting { .. }
        | State::Released
        | State::Held
        | State::Failed
        | State::Cancelled
        | State::Unrecoverable => None,
    }
}
