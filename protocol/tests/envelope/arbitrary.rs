//! Arbitrary bundles and outcomes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use sortie_protocol::location::Service;
use sortie_protocol::outcome::{InputFault, PlatformFault, Refusal};
use sortie_protocol::{
    Address, Argument, Backtrace, Bill, BrokerRef, Bundle, ByteRange, ByteSize, Digest, Ending,
    Failure, InputName, JobId, JobKey, Limit, Location, Log, ObjectRef, Outcome, Output,
    OutputObject, Part, Pin, StoredRef, Task, TenantId, Timestamp, VersionId, WaitingTask,
};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

/// Any length of time that nanoseconds in 64 bits can say, often zero.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        any::<u64>().prop_map(Duration::from_nanos)
    ]
}

fn size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![Just(ByteSize(0)), any::<u64>().prop_map(ByteSize)]
}

fn object() -> impl Strategy<Value = ObjectRef> {
    let pin = prop::option::of(
        (any::<String>(), any::<u64>()).prop_map(|(etag, size)| Pin {
            etag: etag.into(),
            size,
        }),
    );
    let version = prop::option::of("[a-zA-Z0-9._-]{1,40}")
        .prop_map(|name| name.and_then(|name| VersionId::new(&name)));
    (location(), prop::option::of(range()), version, pin).prop_map(
        |(location, bytes, version, pin)| {
            let address = Address {
                location,
                bytes,
                version,
            };
            ObjectRef { address, pin }
        },
    )
}

fn argument() -> impl Strategy<Value = Argument> {
    let objects = prop::collection::vec(object(), 0..4)
        .prop_map(|list| Argument::Objects(list.try_into().unwrap()));
    let prefix = any::<String>().prop_map(|key| {
        let place = Location::Bucket {
            service: Service::Gs,
            bucket: "b".into(),
            key: key + "/",
        };
        Argument::Prefix(place.try_into().unwrap())
    });
    prop_oneof![
        bytes().prop_map(Argument::Value),
        object().prop_map(Argument::Object),
        objects,
        stored().prop_map(Argument::Stored),
        at_broker().prop_map(Argument::AtBroker),
        prefix
    ]
}

/// A location of each kind, with any key and with any name of a file that a path can hold.
fn location() -> impl Strategy<Value = Location> {
    let file = prop::collection::vec(1_u8.., 1..20).prop_map(|mut name| {
        name.iter_mut().for_each(|byte| {
            if *byte == b'/' || *byte == b'.' {
                *byte = b'_';
            }
        });
        Location::File(Path::new("/data").join(OsString::from_vec(name)))
    });
    let service = prop_oneof![Just(Service::S3), Just(Service::Gs)];
    let bucket =
        (service, "[a-z]{1,9}", ".+").prop_map(|(service, bucket, key)| Location::Bucket {
            service,
            bucket,
            key,
        });
    let http = "https?://[a-z]{1,9}/x[a-z%?#@]{0,9}".prop_map(|url| url.parse().unwrap());
    prop_oneof![file, bucket, http]
}

fn range() -> impl Strategy<Value = ByteRange> {
    prop_oneof![
        any::<u64>().prop_map(ByteRange::From),
        any::<(u64, u64)>().prop_map(|(first, last)| ByteRange::Within(first, last)),
        any::<u64>().prop_map(ByteRange::Last),
    ]
}

fn stored() -> impl Strategy<Value = StoredRef> {
    (bytes(), any::<u64>(), location()).prop_map(|(bytes, size, location)| StoredRef {
        digest: Digest::of(&bytes),
        size,
        location,
    })
}

fn at_broker() -> impl Strategy<Value = BrokerRef> {
    let parts = (
        any::<[u8; 16]>(),
        bytes(),
        any::<u64>(),
        any::<Option<u64>>(),
    );
    parts.prop_map(|(job, bytes, size, task)| BrokerRef {
        job: JobId::from_bytes(job),
        digest: Digest::of(&bytes),
        size,
        task,
    })
}

fn output() -> impl Strategy<Value = Output> {
    let object = (stored(), prop::option::of(any::<String>()));
    prop_oneof![
        bytes().prop_map(Output::Value),
        stored().prop_map(Output::Stored),
        at_broker().prop_map(Output::AtBroker),
        object.prop_map(|(stored, content_type)| Output::Object(OutputObject {
            stored,
            content_type
        })),
    ]
}

/// A function's place in its table, arguments, a name and what follows.
type Called = (u32, Vec<Argument>, Option<InputName>, Vec<WaitingTask>);

/// A call, often of the first function.
fn call() -> impl Strategy<Value = Called> {
    let function = prop_oneof![Just(0), any::<u32>()];
    (
        function,
        prop::collection::vec(argument(), 0..5),
        name(),
        then(),
    )
}

/// What follows a task: few of them, with parts of each kind.
fn then() -> impl Strategy<Value = Vec<WaitingTask>> {
    let part = prop_oneof![
        argument().prop_map(Part::Ready),
        any::<u64>().prop_map(Part::Result),
        (
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(any::<u64>(), 0..3)
        )
            .prop_map(|(value, of)| Part::Template(value.into(), of)),
        prop::collection::vec(any::<u64>(), 0..3)
            .prop_map(|of| Part::Objects(of.iter().map(|_| None).collect(), of)),
    ];
    let parts = prop::collection::vec(part, 0..3);
    let waiting = (any::<u64>(), any::<u32>(), parts, name(), any::<bool>());
    let waiting = waiting.prop_map(|(index, function, parts, input, repeatable)| WaitingTask {
        index,
        function,
        parts,
        input,
        repeatable,
    });
    prop::collection::vec(waiting, 0..3)
}

fn name() -> impl Strategy<Value = Option<InputName>> {
    prop::option::of(any::<String>().prop_map(InputName::from))
}

fn tenant() -> impl Strategy<Value = TenantId> {
    "[a-z0-9-]{1,32}".prop_map(|name| name.parse().unwrap())
}

/// A bundle whose tasks are in any order.
pub(crate) fn bundle() -> impl Strategy<Value = Bundle> {
    let tasks = prop::collection::hash_map(any::<u64>(), call(), 1..20).prop_map(|tasks| {
        tasks
            .into_iter()
            .map(|(index, (function, arguments, input, then))| Task {
                index,
                function,
                arguments,
                input,
                then,
            })
            .collect()
    });
    (
        (tenant(), any::<[u8; 16]>()),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
        tasks,
    )
        .prop_map(
            |((tenant, job), attempts_before, lost_before, published, tasks)| Bundle {
                job: JobKey {
                    tenant,
                    job: JobId::from_bytes(job),
                },
                attempts_before,
                lost_before,
                published: Timestamp::from_nanos(published),
                tasks,
            },
        )
}

fn failure() -> impl Strategy<Value = Failure> {
    let limits = prop_oneof![
        size().prop_map(Limit::Memory),
        duration().prop_map(Limit::WallTime),
        duration().prop_map(Limit::CpuTime),
        size().prop_map(Limit::Stack),
        size().prop_map(Limit::Result),
        size().prop_map(Limit::OutputBytes),
    ];
    let inputs = vec![
        InputFault::Malformed,
        InputFault::Missing,
        InputFault::Denied,
        InputFault::Changed,
        InputFault::Unavailable,
    ];
    let platforms = vec![
        PlatformFault::Component,
        PlatformFault::WorkerLost,
        PlatformFault::Host,
        PlatformFault::StoreUnusable,
        PlatformFault::StoreUnavailable,
        PlatformFault::ResultLost,
    ];
    let refusals = vec![
        Refusal::Component,
        Refusal::Grant,
        Refusal::Limit,
        Refusal::Quota,
    ];
    prop_oneof![
        (
            any::<String>(),
            any::<String>(),
            prop::option::of(duration())
        )
            .prop_map(|(code, message, retry)| Failure::Answer {
                code,
                message,
                retry
            }),
        (any::<String>(), backtrace()).prop_map(|(message, at)| Failure::trapped(message).at(at)),
        (limits, backtrace()).prop_map(|(limit, at)| Failure::stopped(limit).at(at)),
        (prop::sample::select(inputs), any::<String>())
            .prop_map(|(fault, message)| Failure::Input { fault, message }),
        (prop::sample::select(platforms), any::<String>())
            .prop_map(|(fault, message)| Failure::Platform { fault, message }),
        (prop::sample::select(refusals), any::<String>())
            .prop_map(|(refusal, message)| Failure::Refused { refusal, message }),
        (
            any::<String>(),
            prop::collection::vec(any::<u64>(), 0..5),
            any::<u64>()
        )
            .prop_map(|(message, path, omitted)| {
                Failure::Upstream {
                    failure: Box::new(Failure::trapped(message)),
                    path,
                    omitted,
                }
            }),
    ]
}

fn backtrace() -> impl Strategy<Value = Backtrace> {
    prop::collection::vec(any::<String>(), 0..4).prop_map(Backtrace::of)
}

fn bill() -> impl Strategy<Value = Bill> {
    (
        [duration(), duration(), duration(), duration(), duration()],
        [size(), size(), size()],
        any::<bool>(),
    )
        .prop_map(
            |([queue, fetch, run, cpu, store], [memory_peak, bytes_in, bytes_out], cached)| Bill {
                queue,
                fetch,
                run,
                cpu,
                memory_peak,
                bytes_in,
                bytes_out,
                cached,
                store,
            },
        )
}

/// Any outcome.
pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let ending = prop_oneof![
        output().prop_map(Ending::Completed),
        failure().prop_map(Ending::Failed),
        Just(Ending::Cancelled)
    ];
    let log = prop::option::of(
        (any::<String>(), any::<u64>()).prop_map(|(text, dropped)| Box::new(Log { text, dropped })),
    );
    (any::<u64>(), any::<u32>(), ending, bill(), log, name()).prop_map(
        |(index, attempts, ending, bill, log, input)| Outcome {
            index,
            attempts,
            ending,
            bill,
            log,
            input,
            function: None,
        },
    )
}
