//! Tasks that make tasks.

use std::io::Write as _;

use sortie_guest::subtasks::Objects;
use sortie_guest::{Failure, Object, Output, OutputObject, TaskGroup};

/// The sum of the numbers below `count`, each of which a subtask returns.
#[sortie_guest::function]
fn spreads(count: i64) -> Result<i64, Failure> {
    let mut group = TaskGroup::new();
    for number in 0..count {
        group.spawn("add", (number, 0))?;
    }
    Ok(group.join::<i64>()?.into_iter().sum())
}

/// How many subtasks there were, each of which takes so many rounds of arithmetic.
#[sortie_guest::function]
fn spreads_slowly(count: u64, rounds: u64) -> Result<u64, Failure> {
    let mut group = TaskGroup::new();
    for number in 0..count {
        // Each another number of rounds, so that no result is known before.
        group.spawn("spins_for", (rounds + number,))?;
    }
    Ok(group.join::<u64>()?.len() as u64)
}

/// How many leaves a tree of subtasks has, which is `depth` deep and has two branches everywhere.
#[sortie_guest::function]
fn branches(depth: u32) -> Result<u64, Failure> {
    if depth == 0 {
        return Ok(1);
    }
    let mut group = TaskGroup::new();
    group.spawn("branches", (depth - 1,))?;
    group.spawn("branches", (depth - 1,))?;
    Ok(group.join::<u64>()?.into_iter().sum())
}

/// The same, where each task keeps `bytes` of memory.
#[sortie_guest::function]
fn branches_large(depth: u32, bytes: u64) -> Result<u64, Failure> {
    let held = vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)];
    if depth == 0 {
        return Ok(u64::from(held.iter().step_by(4096).all(|byte| *byte == 1)));
    }
    let mut group = TaskGroup::new();
    group.spawn("branches_large", (depth - 1, bytes))?;
    group.spawn("branches_large", (depth - 1, bytes))?;
    let leaves = group.join::<u64>()?.into_iter().sum();
    std::hint::black_box(&held);
    Ok(leaves)
}

/// Makes a subtask that does the same, without end.
#[sortie_guest::function]
fn recurses(level: u32) -> Result<u32, Failure> {
    let mut group = TaskGroup::new();
    group.spawn("recurses", (level + 1,))?;
    group.result::<u32>(0).map_err(Failure::from)
}

/// Makes subtasks until there are too many, and says how many there were.
#[sortie_guest::function]
fn spawns_without_end() -> Result<usize, Failure> {
    let mut group = TaskGroup::new();
    loop {
        let spawned = group
            .spawn("empty", ())
            .map(drop)
            .and_then(|()| match group.len() % 1000 {
                0 => group.flush(),
                _ => Ok(()),
            });
        match spawned {
            Ok(()) => {}
            // What is asked for again is refused again, and those that were made are there.
            Err(error) if error.code() == "too-many-tasks" => {
                group.spawn("empty", ())?;
                return match group.wait_all() {
                    Err(again) if again.code() == "too-many-tasks" => Ok(group.len()),
                    _ => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Calls a function that is there or not, with one number.
#[sortie_guest::function]
fn calls(function: String, value: i64) -> Result<i64, Failure> {
    let mut group = TaskGroup::new();
    group.spawn(&function, (value,))?;
    Ok(group.result(0)?)
}

/// The code with which a subtask of this name fails, which takes nothing.
#[sortie_guest::function]
fn code_of(function: String) -> Result<String, Failure> {
    let mut group = TaskGroup::new();
    group.spawn(&function, ())?;
    match group.result::<()>(0) {
        Ok(()) => Ok(String::new()),
        Err(error) => Ok(format!("{}: {}", error.code(), error.message())),
    }
}

/// The numbers of subtasks in the order in which they end: the first waits for the others.
#[sortie_guest::function]
fn in_order(count: u64) -> Result<Vec<usize>, Failure> {
    let mut group = TaskGroup::new();
    for _ in 0..count {
        group.spawn("empty", ())?;
    }
    let mut order = Vec::new();
    while let Some(number) = group.next_ended()? {
        order.push(number);
    }
    Ok(order)
}

/// Makes a subtask that computes for ever, and one that ends; returns when that one has ended.
#[sortie_guest::function]
fn leaves_one_running() -> Result<Option<usize>, Failure> {
    let mut group = TaskGroup::new();
    group.spawn("spins_forever", ())?;
    group.spawn("empty", ())?;
    Ok(group.next_ended()?)
}

/// Stops a subtask that computes for ever, and says how it ended.
#[sortie_guest::function]
fn stops_one() -> Result<String, Failure> {
    let mut group = TaskGroup::new();
    group.spawn("spins_forever", ())?;
    group.flush()?;
    group.cancel();
    match group.result::<()>(0) {
        Ok(()) => Ok("it ended".into()),
        Err(error) => Ok(error.code().into()),
    }
}

/// The name of an object, written into another.
#[sortie_guest::function]
fn named_in_an_object(object: Object) -> Result<OutputObject, Failure> {
    let mut output = Output::create(Some("text/plain"))?;
    write!(output, "{};", object.name())?;
    Ok(output.finish()?)
}

/// What objects hold, one after another.
#[sortie_guest::function]
fn joins_objects(objects: Vec<Object>) -> Result<OutputObject, Failure> {
    let mut output = Output::create(Some("text/plain"))?;
    for object in objects {
        output.write_all(&object.read_all()?)?;
    }
    Ok(output.finish()?)
}

/// Hands each object to a subtask that makes another of it, and those to one that joins them.
#[sortie_guest::function]
fn names_by_subtasks(objects: Vec<Object>) -> Result<String, Failure> {
    let mut group = TaskGroup::new();
    for object in &objects {
        group.spawn("named_in_an_object", (object,))?;
    }
    let made = group.join_objects()?;
    let mut joining = TaskGroup::new();
    joining.spawn("joins_objects", (Objects(made),))?;
    let joined = joining.object(0)?.read_all()?;
    Ok(String::from_utf8_lossy(&joined).into_owned())
}

/// A result of so many bytes that a subtask made, by its length.
#[sortie_guest::function]
fn length_of_a_large_result(len: u64) -> Result<usize, Failure> {
    let mut group = TaskGroup::new();
    group.spawn("returns_bytes", (len,))?;
    Ok(group.result::<serde_bytes::ByteBuf>(0)?.len())
}
