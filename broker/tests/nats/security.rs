//! The configuration in `deploy/nats`, started exactly as it is: what each user needs it permits,
//! and everything else it refuses.
//!
//! The second half sends raw requests, as a malicious program would that bypasses the broker.

use std::num::NonZeroUsize;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use sortie_broker::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie_broker::{
    Cancellation, Extended, Operate as _, Report, Retrial, Submit as _, Work as _,
};
use sortie_harness::{NatsBuilder, NatsServer, repository};
use sortie_protocol::{Digest, FunctionOptions, JobId, JobKey, Labels, Timestamp};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::handed_over::{a_task_is_published, a_worker_goes_on_with_a_job};
use crate::support::{
    Follower, LONG, Stopwatch, again, all_done, assert_error, bundle, complete, completed, config,
    failed, job, presence, publish, pull, puller, put_job, report, soon, try_pull, until, work,
};

const USERS: [&str; 4] = ["operator", "acme", "globex", "worker"];

/// The deployed configuration. Each user's password is its name with `-pw`.
pub(crate) fn deployed(file: &str) -> NatsBuilder {
    let builder = NatsServer::builder().deployed(&repository().join("deploy/nats"), file);
    USERS.iter().fold(builder, |builder, user| {
        builder.variable(
            &format!("SORTIE_{}_PASSWORD", user.to_uppercase()),
            &format!("{user}-pw"),
        )
    })
}

pub(crate) fn of(server: &str, user: &str, role: Role) -> Config {
    let tenant = if role == Role::Client { user } else { "nobody" };
    let url = server.replace("nats://", &format!("nats://{user}:{user}-pw@"));
    Config {
        tenant: tenant.parse().unwrap(),
        role,
        provision: Provision::Never,
        ..config(&url, LONG)
    }
}

pub(crate) async fn lay_out(server: &str, replicas: usize, pools: &[Labels]) {
    let replicas = NonZeroUsize::new(replicas).unwrap();
    for tenant in ["acme", "globex"] {
        let Provision::Missing(layout) = config("", LONG).provision else {
            unreachable!()
        };
        let provision = Provision::Missing(Layout { replicas, ..layout });
        let operator = Config {
            provision,
            ..of(server, "operator", Role::Client)
        };
        let operator = Config {
            tenant: tenant.parse().unwrap(),
            ..operator
        };
        NatsBroker::init(operator, pools).await.unwrap();
    }
}

/// Everybody, on a server as deployed.
struct Fleet {
    server: NatsServer,
    acme: NatsBroker,
    globex: NatsBroker,
    worker: NatsBroker,
}

impl Fleet {
    async fn start() -> Self {
        let server = deployed("server.conf").start().await;
        lay_out(&server.url(), 1, &["gpu".parse().unwrap()]).await;
        let connect = async |user, role| {
            NatsBroker::connect(of(&server.url(), user, role))
                .await
                .unwrap()
        };
        let (acme, globex) = (
            connect("acme", Role::Client).await,
            connect("globex", Role::Client).await,
        );
        let worker = connect("worker", Role::Worker).await;
        Self {
            acme,
            globex,
            worker,
            server,
        }
    }

    async fn raw(&self, user: &str) -> Raw {
        Raw::connect(&self.server.url(), user).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_and_a_worker_can_do_all_they_need() {
    let fleet = Fleet::start().await;
    let (acme, worker) = (&fleet.acme, &fleet.worker);
    a_component_is_stored(acme, worker).await;

    a_job_runs_to_its_end(&fleet).await;

    let mut cancelled = worker.cancellations().await.unwrap();
    let id = put_job(acme).await;
    let mut follower = Follower::of(acme, id).await;
    publish(acme, id, [0]).await;
    publish(acme, id, [1]).await;
    let lease = pull(worker).await;
    acme.cancel(id).await.unwrap();
    assert_eq!(
        soon("word of the cancellation", cancelled.next()).await,
        Some(Cancellation::Job(id))
    );
    assert_eq!(worker.extend(lease.id).await.unwrap(), Extended::Lost);
    complete(worker, &lease, all_done(&lease)).await;
    follower.is_cancelled().await;

    a_worker_goes_on_with_a_job(acme, worker).await;
    a_task_is_published(acme).await;
    only_labels_with_a_pool_are_accepted(acme).await;

    let presence = presence();
    worker.announce(presence.clone()).await.unwrap();
    assert_eq!(acme.workers().await.unwrap(), [presence]);
    worker.close().await.unwrap();
}

async fn a_component_is_stored(acme: &NatsBroker, worker: &NatsBroker) {
    let component = Bytes::from_static(b"a component");
    acme.put_component(Digest::of(&component), component.clone())
        .await
        .unwrap();
    assert_eq!(
        worker.component(Digest::of(&component)).await.unwrap(),
        Some(component)
    );
    assert_eq!(
        worker.component(Digest::of(b"another")).await.unwrap(),
        None
    );
}

/// With a task that fails for good and one that is tried again.
async fn a_job_runs_to_its_end(fleet: &Fleet) {
    let (acme, worker) = (&fleet.acme, &fleet.worker);
    let id = put_job(acme).await;
    let mut follower = Follower::of(acme, id).await;
    publish(acme, id, 0..3).await;
    let lease = pull(worker).await;
    assert!(matches!(
        worker.extend(lease.id).await,
        Ok(Extended::Until(_))
    ));
    complete(
        worker,
        &lease,
        Report {
            outcomes: vec![failed(0)],
            retrials: vec![Retrial {
                index: 1,
                after: Duration::from_millis(5),
            }],
        },
    )
    .await;
    for _ in 0..2 {
        work(worker).await;
    }
    follower.sees_all(3).await;
    let letters = acme.dead_letters(None, 10).await.unwrap();
    let [(letter, _)] = letters.as_slice() else {
        panic!("not one dead letter: {letters:?}")
    };
    assert!(acme.remove_dead_letter(*letter).await.unwrap());
    assert_eq!(acme.dead_letters(Some(id), 10).await.unwrap(), []);
    acme.seal(id, 3).await.unwrap();
    assert_eq!(acme.jobs(10).await.unwrap().len(), 1);
    assert_eq!(fleet.globex.jobs(10).await.unwrap(), []);
    acme.forget(id).await.unwrap();
    follower.ends().await;
}

async fn only_labels_with_a_pool_are_accepted(acme: &NatsBroker) {
    let labelled = job(
        acme.tenant(),
        FunctionOptions {
            labels: "gpu".parse().unwrap(),
            ..FunctionOptions::default()
        },
    );
    acme.put_job(labelled, Timestamp::default()).await.unwrap();
    let unlabelled = job(
        acme.tenant(),
        FunctionOptions {
            labels: "arm".parse().unwrap(),
            ..FunctionOptions::default()
        },
    );
    let put = acme.put_job(unlabelled, Timestamp::default()).await;
    let labels: Labels = "arm".parse().unwrap();
    let advice = put.as_ref().err().and_then(sortie_broker::Error::advice);
    assert_eq!(advice, Some(sortie_protocol::Advice::InitPool { labels }));
    assert_error!(put, Unsuitable, says "no pool", "`arm`");
}

/// A worker may also clean up, give up and bury, for any tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_serves_every_tenant_and_buries_what_is_no_bundle() {
    let fleet = Fleet::start().await;
    for (user, tenant) in [("acme", &fleet.acme), ("globex", &fleet.globex)] {
        let key = put_job(tenant).await;
        let id = key.job;
        let raw = fleet.raw(user).await;
        raw.request(&format!("sortie.tasks.{user}.0.any.normal.{id}"), "garbage")
            .await
            .unwrap();
        publish(tenant, key, [0]).await;
        let lease = pull(&fleet.worker).await;
        complete(&fleet.worker, &lease, again(0, Duration::ZERO)).await;
        work(&fleet.worker).await;
        Follower::of(tenant, key).await.sees_all(1).await;
        until("the letters", &1, async || {
            tenant.dead_letters(None, 10).await.unwrap().len()
        })
        .await;
        // Of a job that is over, everything that waits is taken out at once.
        let over = put_job(tenant).await;
        for index in 0..3 {
            publish(tenant, over, [index]).await;
        }
        tenant.cancel(over).await.unwrap();
        let idle = tokio::spawn({
            let worker = fleet.worker.clone();
            async move { pull(&worker).await }
        });
        let operator = NatsBroker::connect(Config {
            tenant: user.parse().unwrap(),
            ..of(&fleet.server.url(), "operator", Role::Client)
        });
        let operator = operator.await.unwrap();
        until("unfinished", &0, async || {
            operator.unfinished(over).await.unwrap().bundles
        })
        .await;
        idle.abort();
    }
}

/// What is not permitted is told at once, with the subject, and not after a time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_at_once() {
    const DENIED: &str = r#"
        publish { deny: ["sortie.tasks.>", "$JS.API.CONSUMER.MSG.NEXT.>"
                         "$JS.API.DIRECT.GET.sortie-outcomes-default"
                         "$JS.API.DIRECT.GET.sortie-dead-default", "sortie.outcomes.>"
                         "$JS.API.STREAM.PURGE.>", "sortie.components.>", "sortie.workers.*"
                         "$JS.API.DIRECT.GET.sortie-workers"] }
        subscribe { deny: ["sortie.cancel.>"] }"#;
    let users = format!(
        "users: [{{ user: all, password: pw }}, {{ user: few, password: pw, permissions: {{ \
         {DENIED} }} }}]"
    );
    let server = NatsServer::builder()
        .config(&format!("authorization {{ {users} }}"))
        .start()
        .await;
    let url = |user: &str| format!("nats://{user}:pw@{}", server.address());
    let all = NatsBroker::connect(config(&url("all"), LONG))
        .await
        .unwrap();
    let few = NatsBroker::connect(config(&url("few"), LONG))
        .await
        .unwrap();
    let id = put_job(&all).await;
    publish(&all, id, [0]).await;
    let lease = pull(&all).await;
    complete(&all, &lease, report(vec![failed(0)])).await;

    let watch = Stopwatch::start();
    assert_error!(
        few.publish(bundle(id, [1])).await,
        Denied,
        says "sortie.tasks.default.0.any.normal"
    );
    assert_error!(try_pull(&few).await, Denied, says "CONSUMER.MSG.NEXT");
    assert_error!(
        few.complete(lease.id, id, report(vec![completed(3)])).await,
        Denied,
        says "sortie.outcomes.default"
    );
    assert_error!(few.dead_letters(None, 10).await, Denied, says "DIRECT.GET.sortie-dead-default");
    assert_error!(few.workers().await, Denied, says "DIRECT.GET.sortie-workers");
    assert_error!(few.forget(id).await, Denied, says "STREAM.PURGE");
    assert_error!(
        few.put_component(Digest::of(b"x"), "x".into()).await,
        Denied,
        says "sortie.components"
    );
    assert_error!(few.cancellations().await.map(drop), Denied, says "sortie.cancel");
    assert!(
        watch.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        watch.elapsed()
    );
    // A follower whose reading is refused is told so, once, instead of waiting for ever.
    let mut follower = Follower::of(&few, id).await;
    follower
        .is_refused("DIRECT.GET.sortie-outcomes-default")
        .await;
}

/// A connection past the broker that hears what the server objects to.
struct Raw {
    client: Client,
    violations: mpsc::UnboundedReceiver<String>,
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Answered(String),
    /// It is not permitted.
    Refused,
    /// It has no subscriber.
    Unheard,
}

impl Raw {
    async fn connect(server: &str, user: &str) -> Self {
        let (told, violations) = mpsc::unbounded_channel();
        let inbox = if user == "worker" {
            "_INBOX.worker".to_owned()
        } else {
            format!("_INBOX.client.{user}")
        };
        let options = ConnectOptions::with_user_and_password(user.into(), format!("{user}-pw"))
            .custom_inbox_prefix(inbox);
        let options = options.event_callback(move |event| {
            if let async_nats::Event::ServerError(error) = event {
                let _ = told.send(error.to_string());
            }
            std::future::ready(())
        });
        Self {
            client: options.connect(server).await.unwrap(),
            violations,
        }
    }

    /// Whether the server objected to what was done before.
    async fn objected(&mut self, subject: &str) -> bool {
        self.client.flush().await.unwrap();
        // The objection comes before the answer to the flush, and is told on another task.
        let wait = async {
            while let Some(violation) = self.violations.recv().await {
                if violation
                    .to_lowercase()
                    .contains(&format!("{}\"", subject.to_lowercase()))
                {
                    return;
                }
            }
        };
        timeout(Duration::from_millis(300), wait).await.is_ok()
    }

    async fn request(&self, subject: &str, payload: impl Into<Bytes>) -> Option<String> {
        let asked = timeout(
            Duration::from_secs(2),
            self.client.request(subject.to_owned(), payload.into()),
        )
        .await;
        Some(String::from_utf8_lossy(&asked.ok()?.ok()?.payload).into_owned())
    }

    async fn ask(&mut self, subject: &str, payload: impl Into<Bytes>) -> Asked {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        self.client
            .publish_with_reply(subject.to_owned(), inbox, payload.into())
            .await
            .unwrap();
        let answer = timeout(Duration::from_millis(500), answers.next()).await;
        match answer.ok().flatten() {
            Some(answer) if answer.status == Some(StatusCode::NO_RESPONDERS) => Asked::Unheard,
            Some(answer) => Asked::Answered(format!(
                "{:?} {}",
                answer.status,
                String::from_utf8_lossy(&answer.payload)
            )),
            None if self.objected(subject).await => Asked::Refused,
            None => Asked::Answered("nothing".into()),
        }
    }

    async fn hears(&mut self, subject: &str) -> Asked {
        let _subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
        if self.objected(subject).await {
            Asked::Refused
        } else {
            Asked::Answered("subscribed".into())
        }
    }
}

async fn with_outcome(tenant: &NatsBroker, worker: &NatsBroker) -> JobKey {
    let id = put_job(tenant).await;
    publish(tenant, id, [0]).await;
    work(worker).await;
    Follower::of(tenant, id).await.sees_all(1).await;
    publish(tenant, id, [1]).await;
    id
}

/// Each way to read, change or write a stream of the tenant `globex`: subject and payload.
fn questions_about_a_stream(stream: &str, id: JobId) -> Vec<(String, String)> {
    let by_subject = format!("{{\"last_by_subj\":\"sortie.{stream}.globex.{id}\"}}");
    vec![
        (
            format!("$JS.API.STREAM.INFO.sortie-{stream}-globex"),
            String::new(),
        ),
        (
            format!("$JS.API.STREAM.MSG.GET.sortie-{stream}-globex"),
            by_subject.clone(),
        ),
        (
            format!("$JS.API.DIRECT.GET.sortie-{stream}-globex"),
            by_subject.clone(),
        ),
        (
            format!("$JS.API.DIRECT.GET.sortie-{stream}-globex.sortie.{stream}.globex.{id}"),
            String::new(),
        ),
        (
            format!("$JS.API.STREAM.PURGE.sortie-{stream}-globex"),
            String::new(),
        ),
        (
            format!("$JS.API.STREAM.MSG.DELETE.sortie-{stream}-globex"),
            "{\"seq\":1}".into(),
        ),
        (
            format!("$JS.API.STREAM.DELETE.sortie-{stream}-globex"),
            String::new(),
        ),
        (
            format!("$JS.API.CONSUMER.CREATE.sortie-{stream}-globex"),
            "{\"config\":{}}".into(),
        ),
        (
            format!("$JS.API.CONSUMER.CREATE.sortie-{stream}-globex.mine"),
            "{\"config\":{}}".into(),
        ),
        (
            format!("$JS.API.CONSUMER.CREATE.sortie-{stream}-globex.mine.sortie.{stream}.globex.>"),
            "{\"config\":{}}".into(),
        ),
        (
            format!("$JS.API.CONSUMER.DURABLE.CREATE.sortie-{stream}-globex.mine"),
            "{\"config\":{}}".into(),
        ),
        (format!("sortie.{stream}.globex.{id}"), "mine".into()),
    ]
}

/// Subjects that are for the other tenant, a worker or the operator.
fn subjects_of_others(id: JobId) -> Vec<String> {
    vec![
        format!("sortie.tasks.globex.0.any.normal.{id}"),
        format!("sortie.live.globex.{id}"),
        format!("sortie.cancel.globex.{id}"),
        "sortie.workers.me".into(),
        "sortie.meta.layout".into(),
        "$JS.API.CONSUMER.MSG.NEXT.sortie-tasks-globex-0.any-normal".into(),
        "$JS.API.CONSUMER.INFO.sortie-tasks-globex-0.any-normal".into(),
        "$JS.API.CONSUMER.LIST.sortie-tasks-globex-0".into(),
        "$JS.API.CONSUMER.CREATE.sortie-tasks-globex-0".into(),
        "$JS.API.CONSUMER.DELETE.sortie-tasks-globex-0.any-normal".into(),
        "$JS.API.STREAM.MSG.GET.sortie-tasks-globex-0".into(),
        "$JS.API.DIRECT.GET.sortie-tasks-globex-0".into(),
        format!("$JS.API.DIRECT.GET.sortie-tasks-globex-0.sortie.tasks.globex.0.any.normal.{id}"),
        "$JS.API.STREAM.INFO.sortie-tasks-globex-0".into(),
        "$JS.API.STREAM.PURGE.sortie-tasks-globex-0".into(),
        "$JS.API.STREAM.INFO.sortie-meta".into(),
        "$JS.API.STREAM.UPDATE.sortie-jobs-acme".into(),
        "$JS.API.STREAM.CREATE.mine".into(),
        "$JS.API.STREAM.DELETE.sortie-jobs-acme".into(),
        "$JS.API.STREAM.DELETE.sortie-components".into(),
        "$JS.API.STREAM.PURGE.sortie-components".into(),
        "$JS.API.STREAM.LIST".into(),
        "$JS.API.STREAM.NAMES".into(),
        "$JS.API.INFO".into(),
        "$JS.ACK.sortie-tasks-globex-0.any-normal.1.1.1.1.0".into(),
        "_INBOX.worker.x".into(),
        "_INBOX.client.globex.x".into(),
    ]
}

/// By everything that it can ask or listen to with a program of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_gets_at_nothing_of_another() {
    let fleet = Fleet::start().await;
    let key = with_outcome(&fleet.globex, &fleet.worker).await;
    let id = key.job;
    let mut acme = fleet.raw("acme").await;
    // It can ask at all.
    assert!(matches!(
        acme.ask("$JS.API.STREAM.INFO.sortie-jobs-acme", "").await,
        Asked::Answered(_)
    ));
    for stream in ["jobs", "outcomes", "dead"] {
        for (subject, payload) in questions_about_a_stream(stream, id) {
            let asked = acme.ask(&subject, payload).await;
            assert!(
                matches!(asked, Asked::Unheard | Asked::Refused),
                "{subject}: {asked:?}"
            );
        }
    }
    for subject in subjects_of_others(id) {
        let asked = acme.ask(&subject, "{}").await;
        assert!(
            matches!(asked, Asked::Unheard | Asked::Refused),
            "{subject}: {asked:?}"
        );
    }
    // By the broker's own ways: another tenant's name with one's own password.
    let posing = Config {
        tenant: "globex".parse().unwrap(),
        ..of(&fleet.server.url(), "acme", Role::Client)
    };
    assert_error!(
        NatsBroker::connect(posing).await,
        Unsuitable,
        says "`globex`", "name its own tenant"
    );
    // Under its own name it has no such job.
    let mine = JobKey {
        tenant: fleet.acme.tenant(),
        ..key
    };
    assert!(matches!(
        fleet.acme.follow(mine, 0).await.map(drop),
        Err(sortie_broker::Error::NoSuchJob(_))
    ));
    // Under the other's name it hears nothing of it.
    let foreign = timeout(Duration::from_secs(2), fleet.acme.follow(key, 0)).await;
    assert!(!matches!(foreign, Ok(Ok(_))));
    assert_error!(
        fleet.acme.pull(&puller(), NonZeroUsize::MIN).await,
        Denied,
        says "Permissions Violation"
    );
    // Nothing happened to any of it.
    Follower::of(&fleet.globex, key).await.sees_all(1).await;
    work(&fleet.worker).await;
    Follower::of(&fleet.globex, key).await.sees_all(2).await;
}

/// Whatever it subscribes to, it hears its own account and nothing of what others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_hears_nothing_of_another() {
    let fleet = Fleet::start().await;
    let acme = fleet.raw("acme").await;
    let mut everything = acme.client.subscribe(">").await.unwrap();
    for subject in [
        "sortie.live.globex.*",
        "sortie.live.*.*",
        "sortie.tasks.>",
        "_INBOX.>",
        "_R_.>",
        "$JS.>",
    ] {
        drop(acme.client.subscribe(subject).await.unwrap());
    }
    acme.client.flush().await.unwrap();
    let id = with_outcome(&fleet.globex, &fleet.worker).await;
    work(&fleet.worker).await;
    fleet.globex.cancel(id).await.unwrap();
    fleet.globex.forget(id).await.unwrap();
    // Its own comes after all of that.
    let mine = with_outcome(&fleet.acme, &fleet.worker).await;
    loop {
        let heard = soon("an outcome of its own", everything.next())
            .await
            .unwrap();
        let subject = heard.subject.to_string();
        let strange = ["globex", "_INBOX.worker"]
            .into_iter()
            .find(|word| subject.contains(word));
        assert_eq!(strange, None, "{subject}");
        if subject == format!("sortie.live.acme.{}", mine.job) {
            break;
        }
    }
}

/// What the streams hold that an answer could change; the last one is the tenant's own.
async fn stream_states(operator: &Raw) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for stream in [
        "tasks-globex-0",
        "jobs-globex",
        "outcomes-globex",
        "dead-globex",
        "graphs-globex",
        "values-globex",
        "components",
        "meta",
        "workers",
        "jobs-acme",
    ] {
        let info = operator
            .request(&format!("$JS.API.STREAM.INFO.sortie-{stream}"), "")
            .await
            .unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let state = info.get("state").unwrap();
        let counts = ["messages", "first_seq", "last_seq", "consumer_count"]
            .map(|name| state.get(name).unwrap().to_string());
        all.push((stream, counts.join(" ")));
    }
    all
}

/// Subjects that an answer could be sent to, each with a body that would do harm there.
fn foreign_reply_subjects(id: JobId, mine: JobId) -> Vec<(String, &'static str)> {
    const CONSUMER: &str = concat!(
        r#"{"stream_name":"sortie-outcomes-globex","#,
        r#""config":{"name":"mine","deliver_subject":"sortie.live.acme.x"}}"#,
    );
    // An empty body purges everything; the other makes a consumer.
    vec![
        ("$JS.API.STREAM.PURGE.sortie-tasks-globex-0".to_owned(), ""),
        ("$JS.API.STREAM.PURGE.sortie-outcomes-globex".into(), ""),
        (
            "platform.$JS.API.STREAM.PURGE.sortie-tasks-globex-0".into(),
            "",
        ),
        ("$JS.API.STREAM.DELETE.sortie-jobs-globex".into(), ""),
        (
            "$JS.API.CONSUMER.CREATE.sortie-outcomes-globex.mine".into(),
            CONSUMER,
        ),
        (
            "platform.$JS.API.CONSUMER.CREATE.sortie-outcomes-globex.mine".into(),
            CONSUMER,
        ),
        (
            "$JS.API.CONSUMER.DELETE.sortie-tasks-globex-0.any-normal".into(),
            "",
        ),
        (format!("sortie.outcomes.globex.{id}"), "forged"),
        (format!("sortie.jobs.globex.{id}"), "forged"),
        (format!("sortie.graphs.globex.{id}.entries"), "forged"),
        (format!("sortie.graphs.globex.{id}.term"), "forged"),
        ("$JS.API.STREAM.PURGE.sortie-graphs-globex".into(), ""),
        (format!("sortie.values.globex.{id}.0.x.0"), "forged"),
        (format!("sortie.dead.globex.{id}"), "forged"),
        (format!("sortie.dead.acme.{mine}"), "forged"),
        (format!("sortie.tasks.globex.0.any.normal.{id}"), "forged"),
        ("sortie.meta.layout".into(), "forged"),
        ("sortie.workers.me".into(), "forged"),
        ("sortie.components.x.y.z".into(), "forged"),
    ]
}

/// Asks for answers of each kind at `subject`: as it was stored, as JSON, and a stream of them.
async fn ask_for_answers_at(acme: &Raw, mine: JobId, subject: String) {
    let question = format!("{{\"last_by_subj\":\"sortie.outcomes.acme.{mine}\"}}");
    for asked in [
        "$JS.API.DIRECT.GET.sortie-outcomes-acme",
        "$JS.API.STREAM.MSG.GET.sortie-outcomes-acme",
    ] {
        acme.client
            .publish_with_reply(asked, subject.clone(), question.clone().into())
            .await
            .unwrap();
    }
    let batch =
        format!("{{\"seq\":1,\"next_by_subj\":\"sortie.outcomes.acme.{mine}\",\"batch\":9}}");
    acme.client
        .publish_with_reply(
            "$JS.API.DIRECT.GET.sortie-outcomes-acme",
            subject.clone(),
            batch.into(),
        )
        .await
        .unwrap();
    acme.client
        .publish_with_reply("$JS.API.STREAM.INFO.sortie-workers", subject, Bytes::new())
        .await
        .unwrap();
}

/// JetStream sends an answer wherever the question says, without asking whether the asker may
/// publish there. From an account of its own, that is only ever a subject of that account: an
/// answer can do what the tenant may do anyway, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_sent_elsewhere_stays_with_its_tenant() {
    let fleet = Fleet::start().await;
    let key = with_outcome(&fleet.globex, &fleet.worker).await;
    let id = key.job;
    let acme = fleet.raw("acme").await;
    let mine = put_job(&fleet.acme).await.job;
    let question = format!("{{\"last_by_subj\":\"sortie.outcomes.acme.{mine}\"}}");
    let operator = fleet.raw("operator").await;
    let before = stream_states(&operator).await;
    for (subject, body) in foreign_reply_subjects(id, mine) {
        let stored = acme
            .request(&format!("sortie.outcomes.acme.{mine}"), body.to_owned())
            .await
            .unwrap();
        assert!(stored.contains("seq"), "{stored}");
        ask_for_answers_at(&acme, mine, subject).await;
    }
    // They were all sent, and came to the tenant itself.
    let last = format!("sortie.jobs.globex.{id}");
    let mut heard = acme.client.subscribe(last.clone()).await.unwrap();
    acme.client
        .publish_with_reply(
            "$JS.API.DIRECT.GET.sortie-outcomes-acme",
            last,
            question.clone().into(),
        )
        .await
        .unwrap();
    soon("the answer", heard.next()).await.unwrap();
    // Nor is an answer taken for a question of the tenant's, where it may ask.
    let chained = format!("sortie.outcomes.acme.{}", put_job(&fleet.acme).await.job);
    let mut heard = acme.client.subscribe(chained.clone()).await.unwrap();
    acme.client
        .publish_with_reply(
            "$JS.API.DIRECT.GET.sortie-outcomes-acme",
            chained.clone(),
            question.into(),
        )
        .await
        .unwrap();
    soon("the answer", heard.next()).await.unwrap();
    let by_subject = format!("{{\"last_by_subj\":\"{chained}\"}}");
    let found = acme
        .request("$JS.API.STREAM.MSG.GET.sortie-outcomes-acme", by_subject)
        .await
        .unwrap();
    assert!(found.contains("no message found"), "{found}");
    let mut after = stream_states(&operator).await;
    assert_eq!(after.pop().unwrap().0, "jobs-acme");
    assert_eq!(after[..], before[..after.len()]);
    work(&fleet.worker).await;
    Follower::of(&fleet.globex, key).await.sees_all(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_can_remove_nothing_and_reads_no_lists() {
    let fleet = Fleet::start().await;
    let id = with_outcome(&fleet.globex, &fleet.worker).await.job;
    let mut worker = fleet.raw("worker").await;
    for subject in [
        "$JS.API.STREAM.DELETE.sortie-tasks-globex-0".into(),
        "$JS.API.STREAM.DELETE.sortie-outcomes-globex".into(),
        "$JS.API.STREAM.PURGE.sortie-outcomes-globex".into(),
        "$JS.API.STREAM.PURGE.sortie-jobs-globex".into(),
        "$JS.API.STREAM.UPDATE.sortie-tasks-globex-0".into(),
        "$JS.API.STREAM.CREATE.mine".into(),
        "$JS.API.STREAM.LIST".into(),
        "$JS.API.STREAM.INFO.sortie-jobs-globex".into(),
        "$JS.API.DIRECT.GET.sortie-jobs-globex".into(),
        "$JS.API.DIRECT.GET.sortie-dead-globex".into(),
        "$JS.API.STREAM.MSG.GET.sortie-dead-globex".into(),
        "$JS.API.STREAM.MSG.GET.sortie-tasks-globex-0".into(),
        "$JS.API.CONSUMER.CREATE.sortie-jobs-globex.mine".into(),
        "$JS.API.CONSUMER.CREATE.sortie-tasks-globex-0.mine".into(),
        "$JS.API.CONSUMER.DELETE.sortie-tasks-globex-0.any-normal".into(),
        format!("sortie.graphs.globex.{id}.entries"),
        "$JS.API.STREAM.DELETE.sortie-graphs-globex".into(),
        "sortie.meta.layout".into(),
        "sortie.components.x.manifest".into(),
    ] {
        assert_eq!(
            worker.ask(&subject, "{}").await,
            Asked::Refused,
            "{subject}"
        );
    }
    for subject in ["sortie.>", "_INBOX.client.globex.>", "_INBOX.>", ">"] {
        assert_eq!(worker.hears(subject).await, Asked::Refused, "{subject}");
    }
}
