//! The messages of the golden files. Between them they have every kind, every variant and every
//! field, set and left out.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use sortie_protocol::envelope::{self, Manifest, Message};
use sortie_protocol::job::Memo;
use sortie_protocol::outcome::{InputFault, PlatformFault, Refusal};
use sortie_protocol::{
    Address, Argument, Backtrace, Bill, BrokerRef, Bundle, ByteSize, DeadLetter, Digest, Ending,
    Failure, FunctionOptions, FunctionRef, Gathered, Grant, GraphEntry, Job, JobFunction, JobId,
    JobKey, JobRecord, JobState, Kind, Labels, Limit, Limits, Log, ObjectRef, Outcome, Output,
    OutputObject, Parameter, Parent, Part, Pin, Presence, Priority, Published, Reader, Readers,
    Reading, RetryPolicy, Signature, StoredRef, Task, TaskIndex, TenantId, Term, Timestamp,
    WaitingTask, WorkerId,
};

/// A golden file: its name, what it shows, and the message.
type Sample = (&'static str, &'static str, Message);

/// Each golden file.
pub(crate) fn all() -> Vec<Sample> {
    let mut all = bundles_and_outcomes();
    all.extend(jobs_and_marks());
    all.extend(graphs());
    all.extend(dead_letters());
    all.extend(presences_and_manifest());
    all
}

fn bundles_and_outcomes() -> Vec<Sample> {
    vec![
        (
            "bundle",
            "Tasks at their first attempt: values, objects, a stored value and a prefix, no \
             arguments.",
            Message::Bundle(bundle()),
        ),
        (
            "bundle_again",
            "A task that failed before and whose last lease was lost.",
            Message::Bundle(bundle_again()),
        ),
        (
            "bundle_named",
            "A task whose submitter calls its input by a name.",
            Message::Bundle(bundle_named()),
        ),
        (
            "bundle_followed",
            "A task with two that follow it: one takes its result as a whole, the other that of \
             the first in a value.",
            Message::Bundle(bundle_followed()),
        ),
        (
            "outcomes_named",
            "A result with the name of its input.",
            Message::Outcomes(vec![Outcome {
                input: Some("papers/in.pdf".into()),
                ..outcome(7, Ending::Cancelled)
            }]),
        ),
        (
            "outcomes",
            "A result from the memo; one that was paid for, with a log; a cancelled task; a stored \
             value; objects.",
            Message::Outcomes(endings()),
        ),
        (
            "outcomes_none",
            "No outcomes.",
            Message::Outcomes(Vec::new()),
        ),
        (
            "failures_of_the_guest",
            "What a function answers, traps, and each limit that stops it.",
            Message::Outcomes(guest_failures()),
        ),
        (
            "failures_of_others",
            "Each fault of an input and of the platform.",
            Message::Outcomes(other_failures()),
        ),
        (
            "failures_refused",
            "What no worker runs.",
            Message::Outcomes(refusals()),
        ),
    ]
}

fn graphs() -> Vec<Sample> {
    vec![
        (
            "graph",
            "Tasks that wait for results, and what their functions take.",
            Message::Graph(graph()),
        ),
        (
            "graph_none",
            "A part of a graph without entries.",
            Message::Graph(Vec::new()),
        ),
        (
            "term",
            "A process coordinates a job, the third that does.",
            Message::Term(Term {
                number: 3,
                holder: WorkerId::from_bytes([9; 16]),
                holds: true,
            }),
        ),
        (
            "term_over",
            "The first that coordinated a job has left it.",
            Message::Term(Term {
                number: 1,
                holder: WorkerId::from_bytes([9; 16]),
                holds: false,
            }),
        ),
        (
            "published",
            "A task that others find by its name.",
            Message::Published(Published {
                name: "sales 2026".parse().unwrap(),
                job: JobId::from_bytes([7; 16]),
                index: 250_000,
            }),
        ),
    ]
}

fn jobs_and_marks() -> Vec<Sample> {
    vec![
        (
            "cancelled",
            "No outcome after this one counts.",
            Message::Cancelled,
        ),
        (
            "sealed",
            "A job has this many tasks, and gets no more.",
            Message::Sealed(250_000),
        ),
        (
            "tasks_cancelled",
            "These tasks of a job were cancelled.",
            Message::TasksCancelled(vec![7, 8, 250_000]),
        ),
        (
            "job_open",
            "A job with the default options.",
            Message::Job(Box::new(job(FunctionOptions::default(), JobState::Open))),
        ),
        (
            "job_sealed",
            "A job with every option set.",
            Message::Job(Box::new(job(
                options(),
                JobState::Sealed { tasks: 250_000 },
            ))),
        ),
        (
            "job_cancelled",
            "A cancelled job of low priority.",
            Message::Job(Box::new(job(low(), JobState::Cancelled))),
        ),
        (
            "job_read",
            "A job whose outcomes somebody reads.",
            Message::Job(Box::new(read())),
        ),
        (
            "job_gathered",
            "A job whose outcomes were gathered.",
            Message::Job(Box::new(gathered())),
        ),
        (
            "job_subtasks",
            "The subtasks of a task, two levels below what a client submitted.",
            Message::Job(Box::new(subtasks())),
        ),
    ]
}

fn dead_letters() -> Vec<Sample> {
    vec![
        (
            "dead_task",
            "A task that failed for good.",
            Message::DeadLetter(Box::new(dead_task())),
        ),
        (
            "dead_unreadable",
            "A message that nobody could read.",
            Message::DeadLetter(Box::new(dead_unreadable())),
        ),
    ]
}

fn presences_and_manifest() -> Vec<Sample> {
    vec![
        (
            "presence",
            "A worker at work.",
            Message::Presence(presence()),
        ),
        (
            "presence_idle",
            "A worker without labels that does nothing.",
            Message::Presence(idle()),
        ),
        (
            "presence_with_store",
            "A worker that says whether it has a store.",
            Message::Presence(Presence {
                store: Some(true),
                ..presence()
            }),
        ),
        (
            "manifest",
            "A component of three chunks.",
            Message::Manifest(Manifest {
                size: 300_000,
                chunk: 131_072,
            }),
        ),
    ]
}

/// A message's bytes.
pub(crate) fn encode(message: &Message) -> Bytes {
    match message {
        Message::Bundle(bundle) => envelope::bundle(bundle),
        Message::Outcomes(outcomes) => envelope::outcomes(outcomes),
        Message::Cancelled => envelope::cancelled(),
        Message::Sealed(tasks) => envelope::sealed(*tasks),
        Message::Job(job) => envelope::job(job),
        Message::DeadLetter(letter) => envelope::dead_letter(letter),
        Message::Presence(presence) => envelope::presence(presence),
        Message::Manifest(manifest) => envelope::manifest(manifest),
        Message::TasksCancelled(tasks) => envelope::tasks_cancelled(tasks),
        Message::Graph(entries) => envelope::graph(entries),
        Message::Term(term) => envelope::term(term),
        Message::Published(published) => envelope::published(published),
    }
}

fn subtasks() -> JobRecord {
    let mut record = default_job();
    record.job.parent = Some(Parent {
        job: JobId::from_bytes([9; 16]),
        task: 3,
        depth: 2,
        root: JobId::from_bytes([10; 16]),
    });
    record
}

/// A job with the default options, as its record.
pub(crate) fn default_job() -> JobRecord {
    job(FunctionOptions::default(), JobState::Open)
}

const NOW: Timestamp = Timestamp::from_nanos(1_790_000_000_123_456_789);

fn value(cbor: &'static [u8]) -> Argument {
    Argument::Value(Bytes::from_static(cbor))
}

fn key() -> JobKey {
    JobKey {
        tenant: "team-7".parse().unwrap(),
        job: JobId::from_bytes([7; 16]),
    }
}

fn at(url: &str) -> Address {
    url.parse().unwrap()
}

fn bundle() -> Bundle {
    let object = Argument::Object(ObjectRef::from(at("https://objects.example/in.pdf")));
    let pin = Some(Pin {
        etag: "\"1b2c\"".into(),
        size: 4096,
    });
    let pinned = ObjectRef {
        address: at("s3://papers/in.pdf#bytes=0-4095"),
        pin,
    };
    let list = vec![pinned.clone(), at("s3://papers/b.pdf").into()];
    let tasks = vec![
        Task {
            index: 0,
            function: 0,
            arguments: vec![value(&[0x18, 0x2a]), object, value(&[0x62, b'h', b'i'])],
            input: None,
            then: Vec::new(),
        },
        Task {
            index: 1000,
            function: 1,
            arguments: vec![],
            input: None,
            then: Vec::new(),
        },
        Task {
            index: 1001,
            function: 0,
            arguments: vec![Argument::Object(pinned)],
            input: None,
            then: Vec::new(),
        },
        Task {
            index: 1002,
            function: 300,
            arguments: vec![
                Argument::Stored(stored()),
                Argument::Prefix("s3://papers/array.zarr/".parse().unwrap()),
                Argument::AtBroker(at_broker(None)),
            ],
            input: None,
            then: Vec::new(),
        },
        Task {
            index: 1003,
            function: 0,
            arguments: vec![Argument::Objects(list.try_into().unwrap())],
            input: None,
            then: Vec::new(),
        },
    ];
    Bundle {
        job: key(),
        attempts_before: 0,
        lost_before: 0,
        published: NOW,
        tasks,
    }
}

fn stored() -> StoredRef {
    StoredRef {
        digest: Digest::of(b"large"),
        size: 300_000,
        location: "s3://results/objects/6a/6a".parse().unwrap(),
    }
}

fn at_broker(task: Option<TaskIndex>) -> BrokerRef {
    BrokerRef {
        job: key().job,
        digest: Digest::of(b"large"),
        size: 300_000,
        task,
    }
}

fn bundle_again() -> Bundle {
    let tasks = vec![Task {
        index: u64::MAX,
        function: 0,
        arguments: vec![value(&[0xf6])],
        input: None,
        then: Vec::new(),
    }];
    Bundle {
        job: key(),
        attempts_before: 3,
        lost_before: 1,
        published: NOW,
        tasks,
    }
}

fn bundle_named() -> Bundle {
    let mut bundle = bundle_again();
    bundle
        .tasks
        .iter_mut()
        .for_each(|task| task.input = Some("papers/in.pdf".into()));
    bundle
}

fn bundle_followed() -> Bundle {
    let mut bundle = bundle_again();
    let waiting = |index, parts| WaitingTask {
        index,
        function: 1,
        parts,
        input: None,
        repeatable: true,
    };
    // An array of a reference to the first of the results.
    let list = [0x81, 0xda, 0x73, 0x6f, 0x72, 0x74, 0x00];
    let then = [
        waiting(8, vec![Part::Result(7), Part::Ready(value(&[0xf6]))]),
        waiting(10, vec![Part::Template(list.to_vec().into(), vec![8])]),
    ];
    for task in &mut bundle.tasks {
        task.index = 7;
        task.then = then.to_vec();
    }
    bundle
}

fn read() -> JobRecord {
    let mut record = job(FunctionOptions::default(), JobState::Open);
    record.note(Reading::Reads(Reader {
        id: [3; 16],
        until: NOW,
    }));
    record
}

fn gathered() -> JobRecord {
    let mut record = job(FunctionOptions::default(), JobState::Sealed { tasks: 3 });
    let gathered = Gathered {
        at: NOW,
        completed: 2,
        failed: 1,
    };
    let id = [3; 16];
    record.note(Reading::Gathers { id, gathered });
    record
}

fn outcome(index: u64, ending: Ending) -> Outcome {
    Outcome {
        index,
        attempts: 1,
        ending,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

fn endings() -> Vec<Outcome> {
    let completed = Ending::Completed(Bytes::from_static(&[0x83, 0x01, 0x02, 0x03]).into());
    let bill = Bill {
        queue: Duration::from_micros(1500),
        fetch: Duration::from_millis(20),
        run: Duration::from_millis(7),
        cpu: Duration::from_nanos(6_999_999),
        memory_peak: ByteSize::mib(3),
        bytes_in: ByteSize(10_000),
        bytes_out: ByteSize(4),
        cached: false,
        store: Duration::from_micros(300),
    };
    let log = Log {
        text: "line one\nZeile zwei: ü\n".into(),
        dropped: 17,
    };
    vec![
        Outcome {
            attempts: 0,
            bill: Bill {
                cached: true,
                ..Bill::default()
            },
            ..outcome(0, completed.clone())
        },
        Outcome {
            attempts: 2,
            bill,
            log: Some(Box::new(log)),
            ..outcome(1, completed)
        },
        Outcome {
            attempts: 0,
            log: Some(Box::default()),
            ..outcome(2, Ending::Cancelled)
        },
        outcome(3, Ending::Completed(Output::Stored(stored()))),
        outcome(
            4,
            Ending::Completed(Output::Object(OutputObject {
                stored: stored(),
                content_type: None,
            })),
        ),
        outcome(
            5,
            Ending::Completed(Output::Object(OutputObject {
                stored: stored(),
                content_type: Some("image/png".into()),
            })),
        ),
        outcome(6, Ending::Completed(Output::AtBroker(at_broker(Some(6))))),
    ]
}

fn failed(failures: Vec<Failure>) -> Vec<Outcome> {
    (0..)
        .zip(failures)
        .map(|(index, failure)| outcome(index, Ending::Failed(failure)))
        .collect()
}

fn guest_failures() -> Vec<Outcome> {
    let answer = |retry| Failure::Answer {
        code: "busy".into(),
        message: "come back later".into(),
        retry,
    };
    let stopped = |limit| Failure::stopped(limit);
    let size = ByteSize::mib(1);
    let time = Duration::from_millis(1500);
    let calls = || Backtrace::of(["f".into(), "call".into()]);
    failed(vec![
        answer(None),
        answer(Some(Duration::ZERO)),
        answer(Some(Duration::from_secs(2))),
        Failure::trapped("unreachable in `f`"),
        stopped(Limit::Memory(size)),
        stopped(Limit::WallTime(time)),
        stopped(Limit::CpuTime(time)),
        stopped(Limit::Stack(size)),
        stopped(Limit::Result(size)),
        stopped(Limit::OutputBytes(size)),
        Failure::trapped("unreachable").at(calls()),
        stopped(Limit::CpuTime(time)).at(calls()),
    ])
}

fn other_failures() -> Vec<Outcome> {
    let input = |fault| Failure::Input {
        fault,
        message: "`in.pdf`".into(),
    };
    let platform = |fault| Failure::Platform {
        fault,
        message: "gone".into(),
    };
    failed(vec![
        input(InputFault::Malformed),
        input(InputFault::Missing),
        input(InputFault::Denied),
        input(InputFault::Changed),
        input(InputFault::Unavailable),
        platform(PlatformFault::Component),
        platform(PlatformFault::WorkerLost),
        platform(PlatformFault::Host),
        platform(PlatformFault::StoreUnusable),
        platform(PlatformFault::StoreUnavailable),
        platform(PlatformFault::ResultLost),
    ])
}

fn refusals() -> Vec<Outcome> {
    let refused = |refusal| Failure::Refused {
        refusal,
        message: "too much".into(),
    };
    failed(vec![
        refused(Refusal::Component),
        refused(Refusal::Grant),
        refused(Refusal::Limit),
        refused(Refusal::Quota),
        Failure::Upstream {
            failure: Box::new(refused(Refusal::Limit)),
            path: vec![3, 7, 300],
            omitted: 12,
        },
    ])
}

fn job(options: FunctionOptions, state: JobState) -> JobRecord {
    let function = FunctionRef {
        component: Digest::of(b"component"),
        name: "resize".into(),
    };
    let other = FunctionRef {
        component: Digest::of(b"other"),
        name: "join".into(),
    };
    JobRecord {
        job: Job {
            key: JobKey {
                tenant: TenantId::default(),
                job: JobId::from_bytes([8; 16]),
            },
            functions: vec![
                JobFunction { function, options },
                JobFunction {
                    function: other,
                    options: FunctionOptions::default(),
                },
            ],
            parent: None,
        },
        created: NOW,
        state,
        readers: Readers::default(),
        gathered: None,
    }
}

fn options() -> FunctionOptions {
    FunctionOptions {
        limits: Limits {
            memory: ByteSize::mib(1),
            wall_time: Duration::from_secs(2),
            cpu_time: Duration::from_millis(1500),
            result: ByteSize::kib(1),
            log: ByteSize(0),
            output_bytes: ByteSize::mib(5),
        },
        grants: [Grant::Random, Grant::Clock].into(),
        retry: RetryPolicy {
            attempts_max: NonZeroU32::MIN,
            backoff_min: Duration::from_nanos(1),
            backoff_max: Duration::from_nanos(u64::MAX),
        },
        priority: Priority::High,
        memo: Memo::Off,
        labels: Labels::new(["gpu", "region=eu-west-1"]).unwrap(),
    }
}

fn low() -> FunctionOptions {
    FunctionOptions {
        priority: Priority::Low,
        grants: [Grant::Random].into(),
        ..FunctionOptions::default()
    }
}

fn dead_task() -> DeadLetter {
    let Bundle { mut tasks, .. } = bundle_again();
    let outcome = other_failures().pop().unwrap();
    DeadLetter::Task {
        job: default_job().job,
        task: tasks.pop().unwrap(),
        outcome,
        buried: NOW,
    }
}

fn dead_unreadable() -> DeadLetter {
    let (place, reason) = ("tasks 17".into(), "not a message: a tag".into());
    DeadLetter::Unreadable {
        place,
        reason,
        bytes: Bytes::from_static(&[0xc0, 0xff, 0xee]),
        buried: NOW,
    }
}

fn presence() -> Presence {
    Presence {
        worker: WorkerId::from_bytes([9; 16]),
        machine: "rack-7".into(),
        process: 4711,
        version: "0.1.0".into(),
        labels: Labels::new(["gpu"]).unwrap(),
        slots: 8,
        busy: 3,
        draining: true,
        started: Timestamp::from_nanos(1),
        said: NOW,
        store: None,
    }
}

fn idle() -> Presence {
    Presence {
        labels: Labels::default(),
        busy: 0,
        draining: false,
        ..presence()
    }
}

fn graph() -> Vec<GraphEntry> {
    let parameter = |name: &str, kind, type_name: &str| Parameter {
        name: name.into(),
        kind,
        type_name: type_name.into(),
    };
    let signature = |doc: &str, parameters| Signature {
        name: "merge".into(),
        doc: doc.into(),
        parameters,
        returns: "u64".into(),
    };
    let parameters = vec![
        parameter("parts", Kind::Value, "Vec<u64>"),
        parameter("base", Kind::Object, "Object"),
    ];
    let task = |index, parts, input: Option<&str>| {
        GraphEntry::Waiting(WaitingTask {
            index,
            function: 1,
            parts,
            input: input.map(Into::into),
            repeatable: input.is_none(),
        })
    };
    let none = Bytes::new();
    let listed = ObjectRef::from(at("s3://papers/a.pdf"));
    vec![
        GraphEntry::Function(1, signature("Merges.", parameters)),
        GraphEntry::Function(2, signature("", Vec::new())),
        task(
            5,
            vec![
                Part::Template(vec![0x82, 0xf6, 0xf6].into(), vec![3, 4]),
                Part::Result(2),
                Part::Ready(Argument::Value(vec![0xf5].into())),
            ],
            Some("papers/in.pdf"),
        ),
        task(6, vec![Part::Template(none, Vec::new())], None),
        task(
            7,
            vec![Part::Objects(vec![Some(listed.into()), None], vec![5])],
            None,
        ),
    ]
}
