//! All hostile functions at once in one process, through the library, beside ordinary tasks: what
//! the host has to stand.

use std::time::Duration;

use sortie::protocol::job::Memo;
use sortie::{ByteSize, Client, Function, Limits, TaskError, value};
use sortie_harness::component;

const HOSTILE: [(&str, &str); 7] = [
    ("spins_forever", "cpu-time-limit"),
    ("grows_memory", "out-of-memory"),
    ("overflows_stack", "stack-overflow"),
    ("overflows_stack_memory", "trapped"),
    ("traps", "trapped"),
    ("floods_stdout", "cpu-time-limit"),
    ("huge_message", "huge"),
];

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_tasks_complete_beside_hostile_ones() {
    let client = Client::embedded().unwrap();
    let behaviours = client.load(component("behaviours")).await.unwrap();
    let limits = Limits {
        memory: ByteSize::mib(32),
        cpu_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut hostile = Vec::new();
    for round in 0..3 {
        for (name, code) in HOSTILE {
            let function: Function<()> = behaviours.function(name).unwrap();
            let options = sortie::FunctionOptions {
                limits,
                memo: Memo::Off,
                ..function.options().clone()
            };
            hostile.push((
                round,
                name,
                code,
                client
                    .submit(&function.with_options(options), ())
                    .await
                    .unwrap(),
            ));
        }
    }
    let add: Function<i64> = behaviours.function("add").unwrap();
    let mut job = client.map(&add, (0..20_000i64).map(|n| (value(n), value(2 * n))));
    let mut sum = 0;
    while let Some(outcome) = job.next().await {
        assert_eq!(
            outcome.result,
            Ok(3 * i64::try_from(outcome.index).unwrap())
        );
        sum += 1;
    }
    assert_eq!(sum, 20_000);
    for (round, name, code, task) in hostile {
        match task.await {
            Err(TaskError::Failed(failure)) => {
                assert_eq!(failure.code(), code, "{name}, round {round}: {failure}")
            }
            other => panic!("{name}, round {round}: {other:?}"),
        }
    }
}
