//! `sortie dlq`: lists dead letters (tasks that failed for good), shows why, and submits them
//! again.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sortie::protocol::{Argument, ByteSize, JobId, JobKey};
use sortie::{Client, DeadLetter, Detached, Ending as TaskEnding, LetterId, ReplayError};
use sortie_frontend::binding::shown;
use sortie_frontend::json::{self, Layout};
use sortie_frontend::settings::Environment;

use crate::arguments::dlq::{Arguments, Command, List, Replay, Show};
use crate::ending::{Ending, Error, refused};
use crate::session::{Reached, connect, reach, resolve, settle_client};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;
use crate::terminal::table;

/// How many letters are searched: as many as an in-process broker keeps.
const LOOKED_THROUGH: usize = 10_000;

/// A letter as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    id: LetterId,
    buried: String,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Task {
        job: String,
        index: u64,
        input: Value,
        function: &'a str,
        component: String,
        code: &'a str,
        message: String,
        blame: &'a str,
        attempts: u32,
    },
    Unreadable {
        place: &'a str,
        reason: &'a str,
    },
}

impl<'a> Shown<'a> {
    fn new((id, letter): &'a (LetterId, DeadLetter)) -> Self {
        let what = match letter {
            DeadLetter::Task {
                job, task, outcome, ..
            } => {
                let failure = match &outcome.ending {
                    TaskEnding::Failed(failure) => Some(failure),
                    TaskEnding::Completed(_) | TaskEnding::Cancelled => None,
                };
                let called = job.function(task.function);
                What::Task {
                    job: job.key.job.to_string(),
                    index: task.index,
                    input: shown(task.input.as_ref()),
                    function: called.map_or("", |called| &called.function.name),
                    component: called
                        .map(|called| called.function.component.to_string())
                        .unwrap_or_default(),
                    code: failure.map_or("", |failure| failure.code()),
                    message: failure.map(ToString::to_string).unwrap_or_default(),
                    blame: failure.map_or("", |failure| failure.blame().as_str()),
                    attempts: outcome.attempts,
                }
            }
            DeadLetter::Unreadable { place, reason, .. } => What::Unreadable { place, reason },
        };
        Self {
            id: *id,
            buried: table::time(letter.buried()),
            what,
        }
    }

    fn row(&self) -> [String; 6] {
        match &self.what {
            What::Task {
                job,
                index,
                code,
                message,
                ..
            } => [
                self.id.to_string(),
                self.buried.clone(),
                job.clone(),
                index.to_string(),
                (*code).into(),
                message.clone(),
            ],
            What::Unreadable { place, reason } => [
                self.id.to_string(),
                self.buried.clone(),
                (*place).into(),
                String::new(),
                "unreadable".into(),
                (*reason).into(),
            ],
        }
    }
}

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::List(list) => show_list(list, environment, interrupt).await,
        Command::Show(show) => show_one(show, environment, interrupt).await,
        Command::Replay(arguments) => replay(arguments, environment, interrupt).await,
        Command::Remove(arguments) => {
            let client = connect(&arguments.broker, environment, interrupt).await?;
            remove(&client, &arguments.ids, interrupt).await
        }
    }
}

/// Remove letters. One that does not exist is an error, when the others were removed.
async fn remove(client: &Client, ids: &[LetterId], interrupt: &Interrupt) -> Result<Ending, Error> {
    let mut missing = None;
    for letter in ids {
        let removing = client.remove_dead_letter(*letter);
        if !interrupt.or(removing).await?.map_err(refused)? {
            missing.get_or_insert(*letter);
        }
    }
    match missing {
        None => Ok(Ending::Completed),
        Some(missing) => Err(unknown(missing)),
    }
}

fn unknown(letter: LetterId) -> Error {
    Error::Usage(format!(
        "there is no dead letter {letter}; `sortie dlq list` shows the existing ones"
    ))
}

async fn show_list(
    list: &List,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let client = match reach(&list.broker, environment, interrupt).await? {
        Reached::There(client) => client,
        Reached::Nothing(why) => {
            terminal::say(&format!("there are no dead letters: {why}"));
            return Ok(Ending::Completed);
        }
    };
    let letters = letters(&client, list.job.as_deref(), list.count.get(), interrupt).await?;
    if list.json {
        table::print_json(letters.iter().map(Shown::new))?;
    } else if letters.is_empty() {
        terminal::say("there are no dead letters");
    } else {
        table::print(
            ["ID", "BURIED", "JOB", "TASK", "CODE", "MESSAGE"],
            letters.iter().map(|letter| Shown::new(letter).row()),
        )?;
    }
    Ok(Ending::Completed)
}

async fn show_one(
    show: &Show,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let client = connect(&show.broker, environment, interrupt).await?;
    let letters = chosen(&client, &[show.id], interrupt).await?;
    let mut output = stdout::lines();
    for letter in &letters {
        append(letter, output.pending())?;
    }
    stdout::flush(&mut output)?;
    Ok(Ending::Completed)
}

/// Append a letter with the arguments of its task. Nothing is made of them but their text: as a
/// tree a small value can take gigabytes.
fn append(letter: &(LetterId, DeadLetter), out: &mut Vec<u8>) -> Result<(), Error> {
    let mut line = serde_json::to_vec(&Shown::new(letter))
        .map_err(|error| Error::Platform(format!("failed to write JSON: {error}")))?;
    if let DeadLetter::Task { task, .. } = &letter.1 {
        // The brace that closes the object.
        line.pop();
        line.extend_from_slice(b",\"arguments\":[");
        for (n, argument) in task.arguments.iter().enumerate() {
            if n > 0 {
                line.push(b',');
            }
            append_argument(argument, &mut line);
        }
        line.extend_from_slice(b"]}");
    }
    out.append(&mut line);
    out.push(b'\n');
    Ok(())
}

/// A value as it is, an object as its URL.
fn append_argument(argument: &Argument, out: &mut Vec<u8>) {
    let url = match argument {
        Argument::Value(cbor) => {
            let mark = out.len();
            if json::write(cbor, Layout::Line, out).is_err() {
                out.truncate(mark);
                out.extend_from_slice(b"null");
            }
            return;
        }
        Argument::Object(object) => object.address.to_url(),
        Argument::Stored(stored) => stored.location.to_url(),
        Argument::AtBroker(kept) => format!("{} at the broker", ByteSize(kept.size)),
        Argument::Prefix(place) => place.to_url(),
        Argument::Objects(list) => {
            let urls = list.iter().map(|object| object.address.to_url());
            out.extend_from_slice(Value::from_iter(urls).to_string().as_bytes());
            return;
        }
    };
    out.extend_from_slice(Value::String(url).to_string().as_bytes());
}

async fn replay(
    arguments: &Replay,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let client = connect(&arguments.broker, environment, interrupt).await?;
    let letters = if arguments.ids.is_empty() {
        letters(&client, arguments.job.as_deref(), LOOKED_THROUGH, interrupt).await?
    } else {
        chosen(&client, &arguments.ids, interrupt).await?
    };
    if letters.is_empty() {
        terminal::say("there are no dead letters");
        return Ok(Ending::Completed);
    }
    let ended = submit_again(&client, letters, interrupt).await;
    if ended.is_err() {
        // Requests already sent are completed.
        settle_client(&client).await;
    }
    ended
}

/// Submit the tasks of letters again, one job after another. Each job's name is printed when it was
/// submitted, so an interruption loses none.
async fn submit_again(
    client: &Client,
    letters: Vec<(LetterId, DeadLetter)>,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let mut jobs: BTreeMap<Option<JobKey>, Vec<_>> = BTreeMap::new();
    // Oldest first, as their tasks were submitted.
    for letter in letters.into_iter().rev() {
        jobs.entry(letter.1.job()).or_default().push(letter);
    }
    stdout::check()?;
    let mut output = stdout::lines();
    let (mut tasks, mut left) = (0, 0);
    for letters in jobs.into_values() {
        let (replayed, failed) = match client.replay_until(letters, interrupt.raised()).await {
            Ok(replayed) => (replayed, None),
            Err(ReplayError { replayed, why }) => (replayed, Some(why)),
        };
        left += replayed.left;
        let mut names = Vec::with_capacity(replayed.jobs.len());
        for Detached { job, tasks: count } in replayed.jobs {
            tasks += count;
            names.push(job.to_string());
            output
                .pending()
                .extend_from_slice(format!("{job}\n").as_bytes());
        }
        stdout::flush(&mut output).map_err(|error| {
            let names = names.join(", ");
            Error::Platform(format!("{error}; what was submitted is {names}"))
        })?;
        for letter in replayed.unreadable {
            terminal::say(&format!(
                "dead letter {letter} holds no task and stays; `sortie dlq remove {letter}` \
                 removes it"
            ));
        }
        if let Some(why) = failed {
            say_submitted(tasks);
            return Err(refused(why));
        }
    }
    say_submitted(tasks);
    if left > 0 {
        terminal::say(&format!(
            "interrupted; {left} dead letters remain; the same command replays them"
        ));
        return Ok(Ending::Interrupted);
    }
    Ok(Ending::Completed)
}

fn say_submitted(tasks: u64) {
    terminal::say(&format!(
        "tasks submitted again: {tasks}; `sortie job gather JOB` writes their results"
    ));
}

async fn letters(
    client: &Client,
    job: Option<&str>,
    count: usize,
    interrupt: &Interrupt,
) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
    let job: Option<JobId> = match job {
        Some(text) => Some(interrupt.or(resolve(client, text)).await??),
        None => None,
    };
    interrupt
        .or(client.dead_letters(job, count))
        .await?
        .map_err(refused)
}

/// The letters with these numbers; an error if one does not exist.
async fn chosen(
    client: &Client,
    ids: &[LetterId],
    interrupt: &Interrupt,
) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
    let mut found = letters(client, None, LOOKED_THROUGH, interrupt).await?;
    if let Some(missing) = ids
        .iter()
        .find(|id| !found.iter().any(|(letter, _)| letter == *id))
    {
        return Err(unknown(*missing));
    }
    found.retain(|(letter, _)| ids.contains(letter));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_letter_take_no_more_than_their_bytes_allow() {
        // Maps that are the keys of maps.
        let nested = [[0xa1].repeat(30), [0x00].repeat(31)].concat();
        let mut out = Vec::new();
        append_argument(&Argument::Value(nested.clone().into()), &mut out);
        assert!(out.len() < json::GROWTH_MAX * nested.len(), "{}", out.len());
        let broken = vec![0x82, 0x01];
        out.clear();
        append_argument(&Argument::Value(broken.into()), &mut out);
        assert_eq!(out, b"null");
    }
}
