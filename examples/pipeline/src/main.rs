//! Which frequent words two folders of texts share: three stages for each folder, and a join.
//!
//! Each text is counted, the counts are merged as a tree, the merged counts are ranked, and the two
//! rankings are joined. All of it is submitted at once: a task takes the futures of those it
//! follows from, and runs when their results are there. Nothing is waited for but the last result,
//! and no other result comes here to be used.
//!
//! ```text
//! sortie-pipeline target/components/word-count.wasm FOLDER FOLDER
//! ```
//!
//! In this process, or with `SORTIE_BROKER` over a fleet.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use sortie::{Client, Function, TaskFuture, object};

/// How often each word occurs.
type Counts = BTreeMap<String, u64>;
/// Words with how often they occur, the most frequent first.
type Ranking = Vec<(String, u64)>;
/// Words of both folders, with how often they occur in each.
type Shared = Vec<(String, u64, u64)>;

/// How many counts are merged at once.
const FAN_IN: usize = 8;
/// How many of a folder's words are ranked.
const RANKED: u32 = 50;

/// The functions of the component `word-count`.
struct Functions {
    count: Function<Counts>,
    merge: Function<Counts>,
    top: Function<Ranking>,
    both: Function<Shared>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, one, other] = arguments.as_slice() else {
        return Err("usage: sortie-pipeline COMPONENT FOLDER FOLDER".into());
    };
    let client = match env::var("SORTIE_BROKER") {
        Ok(broker) => Client::connect(&broker).await?,
        Err(_) => Client::embedded()?,
    };
    let shared = shared(&client, component, Path::new(one), Path::new(other)).await;
    // However it ended, a broker hears that the job is over before this process is gone.
    client.flush_jobs().await;
    for (word, count, count_of_other) in shared? {
        println!("{word}\t{count}\t{count_of_other}");
    }
    Ok(())
}

/// The frequent words that the texts of two folders share, with how often they are in each.
async fn shared(
    client: &Client,
    component: &str,
    one: &Path,
    other: &Path,
) -> Result<Shared, Box<dyn Error>> {
    let component = client.load(component).await?;
    let functions = Functions {
        count: component.function("count")?,
        merge: component.function("merge")?,
        top: component.function("top")?,
        both: component.function("both")?,
    };
    let one = ranking(client, &functions, one).await?;
    let other = ranking(client, &functions, other).await?;
    let joined = client.submit(&functions.both, (&one, &other)).await?;
    Ok(joined.await?)
}

/// Submit what ranks the words of a folder's texts: a task for each text, a tree, and one task
/// more.
async fn ranking(
    client: &Client,
    functions: &Functions,
    folder: &Path,
) -> Result<TaskFuture<Ranking>, Box<dyn Error>> {
    let mut counts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = object(path.to_string_lossy());
            counts.push(client.submit(&functions.count, text).await?);
        }
    }
    if counts.is_empty() {
        return Err(format!("there are no texts in `{}`", folder.display()).into());
    }
    let all = client
        .reduce(&functions.merge, counts, FAN_IN.try_into()?)
        .await?;
    Ok(client.submit(&functions.top, (&all, RANKED)).await?)
}
