//! Pulls bundles from JetStream for all slots of a process.
//!
//! Slots wait here in FIFO order, each for some number of bundles (its credits). One task pulls
//! from the sources for all of them, as [`Sources`] decides. So a process with many slots has one
//! waiting pull request at the server, and never more bundles than its slots can process. If a slot
//! stops waiting while a bundle is on its way to it, the bundle is a *spare*: the next slot gets
//! it, and if none comes within [`SPARE_TIME_MAX`] it goes back to the server, without counting as
//! an attempt.
//!
//! A server may answer a pull request until the inbox of its answers is gone. So a queue that
//! closes first ends that subscription, takes what came until then, and returns it.
//!
//! A reconnect invalidates all earlier pull requests. Replies then use a new subject, so that
//! answers to old requests are not received.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde::Deserialize;
use sortie_protocol::{Labels, TenantId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::admission::Admission;
use super::bundles::Bundles;
use super::clock::{self, Steady};
use super::connection::Connection;
use super::headers::number;
use super::held_lease::HeldLease;
use super::jetstream::JetStream;
use super::leases::Leases;
use super::leftovers::Leftovers;
use super::looks::Looks;
use super::names::{Names, Source};
use super::provision::Provisioner;
use super::quiet::Quiet;
use super::sources::{Command, Event, HEARTBEAT, Sources, WAIT_MAX, Wait};
use crate::traits::{Error, Lease, Serves};

/// How long a bundle may wait here for a slot.
const SPARE_TIME_MAX: Duration = Duration::from_millis(100);
/// The API subject for pull requests.
const ASK: &str = "$JS.API.CONSUMER.MSG.NEXT";
/// Interval of [`Event::Tick`].
const TICK: Duration = Duration::from_millis(250);
/// How long closing waits for the server: what it sends after that is redelivered later.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// Delay between attempts while the broker is unreachable.
const PAUSE: Duration = Duration::from_millis(250);

/// A handle of the pull queue. The queue closes when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct PullQueue {
    shared: Arc<Shared>,
    _task: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    queue: Mutex<Queue>,
    /// Wakes the puller: slots were added or removed.
    changed: Notify,
    state: watch::Sender<State>,
}

/// Whether a queue asks for bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// It is to ask for nothing more.
    Closing,
    /// No delivery is on its way any more.
    Closed,
}

/// The parts of the broker that pulling needs.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
    pub(super) provisioner: Provisioner,
    pub(super) bundles: Arc<Bundles>,
    pub(super) leases: Arc<Leases>,
    pub(super) admission: Arc<Admission>,
}

#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<Arc<Slot>>,
    spares: VecDeque<(Instant, HeldLease)>,
    /// Pulling is impossible, for this reason.
    broken: Option<Error>,
}

/// A slot that waits for bundles.
#[derive(Debug)]
struct Slot {
    credits: usize,
    granted: Mutex<Vec<HeldLease>>,
    ready: Notify,
}

impl Queue {
    /// Give spares to the waiting slots, in FIFO order.
    fn serve(&mut self) {
        while let (Some(slot), false) = (self.slots.front().cloned(), self.spares.is_empty()) {
            let count = slot.credits.min(self.spares.len());
            slot.granted
                .lock()
                .extend(self.spares.drain(..count).map(|(_, held)| held));
            slot.ready.notify_one();
            self.slots.pop_front();
        }
    }

    fn wanted(&self) -> usize {
        self.slots.iter().map(|slot| slot.credits).sum()
    }
}

impl Shared {
    /// Wait until the queue is to ask for nothing more. Cancel safe.
    async fn closes(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this.
        let _ = state
            .wait_for(|state| *state != State::Open)
            .await
            .map(drop);
    }

    fn line_up(&self, slot: &Arc<Slot>) {
        let mut queue = self.queue.lock();
        queue.slots.push_back(slot.clone());
        queue.serve();
        drop(queue);
        self.changed.notify_one();
    }
}

/// A slot's place in the queue. If it is dropped, bundles granted meanwhile become spares.
struct Place<'d> {
    shared: &'d Shared,
    slot: Arc<Slot>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        let granted = std::mem::take(&mut *self.slot.granted.lock());
        for held in granted {
            queue.spares.push_back((clock::instant(), held));
        }
        queue.serve();
        drop(queue);
        self.shared.changed.notify_one();
    }
}

impl PullQueue {
    pub(super) fn open(parts: Parts, serves: Serves) -> Self {
        let home = parts.bundles.home();
        let shared = Arc::new(Shared {
            parts,
            queue: Mutex::default(),
            changed: Notify::new(),
            state: watch::Sender::new(State::Open),
        });
        let mut task = JoinSet::new();
        let puller = Puller {
            shared: shared.clone(),
            serves,
            home,
            steady: Steady::new(),
        };
        task.spawn(puller.run());
        Self {
            shared,
            _task: Arc::new(task),
        }
    }

    /// Wait for bundles. Cancel safe: a bundle for a dropped call goes to the next slot, or back to
    /// the server.
    pub(super) async fn pull(&self, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        let slot = Arc::new(Slot {
            credits: credits.get(),
            granted: Mutex::default(),
            ready: Notify::new(),
        });
        let place = Place {
            shared: &self.shared,
            slot: slot.clone(),
        };
        self.shared.line_up(&slot);
        loop {
            slot.ready.notified().await;
            let granted = std::mem::take(&mut *slot.granted.lock());
            let came = !granted.is_empty();
            let granted = self.shared.parts.leases.without_ended(granted).await?;
            if granted.is_empty() && came {
                self.shared.line_up(&slot);
                continue;
            }
            if !granted.is_empty() {
                let leased = u64::try_from(granted.len()).unwrap_or(u64::MAX);
                self.shared.parts.connection.metrics().leased.add(leased);
                drop(place);
                let lease = |held: HeldLease| {
                    let lease = held.lease();
                    self.shared.parts.leases.held.insert(held);
                    lease
                };
                return Ok(granted.into_iter().map(lease).collect());
            }
            if let Some(error) = self.shared.queue.lock().broken.clone() {
                return Err(error);
            }
        }
    }

    /// Ask for nothing more, and return to the server what came and was not granted. Where the
    /// broker does not answer in time, what is on its way is redelivered when its lease expires.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let mut state = self.shared.state.subscribe();
        self.shared.state.send_replace(State::Closing);
        let closed = state.wait_for(|state| *state == State::Closed);
        let _ = timeout(CLOSE_TIME_MAX, closed).await.map(drop);
        let spares = std::mem::take(&mut self.shared.queue.lock().spares);
        for (_, held) in spares {
            self.shared.parts.leases.release(&held).await?;
        }
        Ok(())
    }
}

/// The task that sends pull requests.
struct Puller {
    shared: Arc<Shared>,
    serves: Serves,
    home: u16,
    steady: Steady,
}

/// What the puller knows of tenants and pools.
#[derive(Default)]
struct Known {
    tenants: HashSet<TenantId>,
    pools: HashSet<String>,
    /// Those whose bundles this user may not ask for.
    denied: HashSet<TenantId>,
}

/// Why pulling ended.
enum Served {
    /// Everything has to be asked for anew.
    Reconnected,
    Closed,
}

/// What the puller subscribes to.
struct Subscriptions {
    inbox: String,
    replies: Subscriber,
    bells: Subscriber,
}

type Admitting = FuturesUnordered<BoxFuture<'static, Option<HeldLease>>>;

impl Puller {
    async fn run(self) {
        let (mut sources, mut admitting) = (Sources::new(self.home), Admitting::new());
        while *self.shared.state.borrow() == State::Open {
            match self.serve(&mut sources, &mut admitting).await {
                Ok(Served::Closed) => break,
                Ok(Served::Reconnected) => {
                    tracing::info!("connected again; asking for work anew");
                }
                Err(error @ (Error::Denied { .. } | Error::Unsuitable { .. })) => {
                    tracing::warn!(%error, "cannot pull bundles");
                    self.tell_waiting(&error);
                    tokio::time::sleep(4 * PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot pull bundles at the moment");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        while let Some(held) = admitting.next().await {
            self.offer(held);
        }
        self.shared.state.send_replace(State::Closed);
    }

    /// Send the error to the waiting slots.
    fn tell_waiting(&self, error: &Error) {
        let mut queue = self.shared.queue.lock();
        queue.broken = Some(error.clone());
        for slot in queue.slots.drain(..) {
            slot.ready.notify_one();
        }
    }

    /// Pull until the subscriptions have to be set up again, or the queue closes.
    ///
    /// What is being taken in stays in `admitting`: those bundles are leased already.
    async fn serve(
        &self,
        sources: &mut Sources,
        admitting: &mut Admitting,
    ) -> Result<Served, Error> {
        let known = &mut Known::default();
        let parts = &self.shared.parts;
        let (mut gaps, mut violations) = (parts.connection.gaps(), parts.connection.violations());
        gaps.mark_unchanged();
        // In this order: what comes after the look rings.
        let mut subscriptions = self.listen().await?;
        let mut looks = self.look_for_pools(sources, known).await?;
        let _clearing = self.clear_leftovers(known);
        self.shared.queue.lock().broken = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = sources.on(Event::Reconnected, self.steady.now());
        let mut quiet = Quiet::new(clock::instant());
        loop {
            self.act(&subscriptions, std::mem::take(&mut commands), sources)
                .await?;
            let spare_until = self.spare_until();
            let event = tokio::select! {
                biased;
                message = subscriptions.replies.next() => match message {
                    Some(message) => {
                        self.on_reply(&subscriptions.inbox, message, quiet.since(), admitting)
                    }
                    None => return Err(parts.connection.unreachable("the connection was closed")),
                },
                Some(held) = admitting.next(), if !admitting.is_empty() => {
                    self.offer(held);
                    None
                }
                bell = subscriptions.bells.next() => match bell {
                    Some(bell) => self.on_bell(&bell, known, &mut looks),
                    None => return Err(parts.connection.unreachable("the connection was closed")),
                },
                () = self.shared.changed.notified() => None,
                changed = gaps.changed() => {
                    drop(changed);
                    self.take_rest(&mut subscriptions, quiet.since(), admitting);
                    return Ok(Served::Reconnected);
                }
                () = self.shared.closes() => {
                    self.take_last(&mut subscriptions, quiet.since(), admitting)
                        .await;
                    return Ok(Served::Closed);
                }
                // A pull request gets no answer that would report this.
                Ok(violation) = violations.recv() => {
                    match self.on_violation(&violation, sources, known) {
                        Ok(event) => event,
                        Err(error) => return Err(error),
                    }
                }
                () = until(spare_until) => {
                    self.release_old_spares().await?;
                    None
                }
                _ = ticks.tick() => {
                    quiet.nothing_there(clock::instant());
                    Some(Event::Tick)
                }
            };
            commands.extend(self.decide(event, sources, admitting.len()));
            if looks.is_due(clock::instant()) {
                looks = self.look_for_pools(sources, known).await?;
            }
        }
    }

    /// What an event leads to, where so many bundles are being taken in.
    fn decide(
        &self,
        event: Option<Event>,
        sources: &mut Sources,
        admitting: usize,
    ) -> Vec<Command> {
        let now = self.steady.now();
        let mut commands = Vec::new();
        if let Some(event) = event {
            commands.extend(sources.on(event, now));
        }
        if sources.is_shared() {
            let held = self.shared.parts.leases.held.by_tenant();
            commands.extend(sources.on(Event::Held(held), now));
        }
        let wanted = self.wanted().saturating_sub(admitting);
        commands.extend(sources.on(Event::Wanted(wanted), now));
        commands
    }

    /// When the oldest spare has to be returned to the server.
    fn spare_until(&self) -> Option<Instant> {
        let queue = self.shared.queue.lock();
        let oldest = queue.spares.front();
        oldest.map(|(since, _)| *since + SPARE_TIME_MAX)
    }

    /// How many bundles the waiting slots can take.
    fn wanted(&self) -> usize {
        self.shared.queue.lock().wanted()
    }

    /// A bell of a tenant or a pool that is not known makes the puller look for them.
    fn on_bell(&self, bell: &Message, known: &Known, looks: &mut Looks) -> Option<Event> {
        let source = self.shared.parts.names.parse_bell(&bell.subject)?;
        if !known.pools.contains(&source.pool) || !known.tenants.contains(&source.tenant) {
            looks.rang();
        }
        let headers = bell.headers.as_ref();
        let sequence = headers
            .and_then(|headers| number(headers, "Nats-Sequence"))
            .unwrap_or(u64::MAX);
        Some(Event::Rang { source, sequence })
    }

    /// Asking for work has no answer that could say that it is not permitted. A tenant whose
    /// bundles may not be asked for takes nobody else's along.
    fn on_violation(
        &self,
        violation: &str,
        sources: &Sources,
        known: &mut Known,
    ) -> Result<Option<Event>, Error> {
        if !violation.contains(ASK) {
            return Ok(None);
        }
        let parts = &self.shared.parts;
        let denied = |tenant: &&TenantId| {
            (0..parts.bundles.shards).any(|shard| {
                let queue = parts.names.tasks_stream(tenant, shard);
                violation.contains(&format!("{ASK}.{queue}."))
            })
        };
        let Some(tenant) = known.tenants.iter().find(denied).copied() else {
            return Ok(None);
        };
        if !known.denied.insert(tenant) {
            return Ok(None);
        }
        if known.tenants.len() == known.denied.len() || sources.is_empty() {
            return Err(parts.connection.denied(violation));
        }
        tracing::warn!(%tenant, "may not ask for this tenant's bundles; serving the others");
        Ok(Some(Event::Denied(tenant)))
    }

    /// Process deliveries that arrived before the connection problem.
    fn take_rest(
        &self,
        subscriptions: &mut Subscriptions,
        leased: Instant,
        admitting: &mut Admitting,
    ) {
        while let Some(Some(message)) = subscriptions.replies.next().now_or_never() {
            self.on_reply(&subscriptions.inbox, message, leased, admitting);
        }
    }

    /// End the subscription, and process the deliveries that the server sent before it knew that.
    async fn take_last(
        &self,
        subscriptions: &mut Subscriptions,
        leased: Instant,
        admitting: &mut Admitting,
    ) {
        if subscriptions.replies.drain().await.is_err() {
            return;
        }
        while let Some(message) = subscriptions.replies.next().await {
            self.on_reply(&subscriptions.inbox, message, leased, admitting);
        }
    }

    /// Begin to look for what was left in the queues. It ends with what is returned.
    fn clear_leftovers(&self, known: &Known) -> JoinSet<()> {
        let parts = &self.shared.parts;
        let pools: Vec<String> = known.pools.iter().cloned().collect();
        let tenants = known.tenants.difference(&known.denied);
        let sources = tenants.flat_map(|tenant| parts.bundles.sources(*tenant, &pools));
        let leftovers = Leftovers {
            jetstream: parts.jetstream.clone(),
            names: parts.names.clone(),
            jobs: parts.admission.jobs.clone(),
            bundles: parts.bundles.clone(),
            ended: parts.admission.ended.clone(),
        };
        let mut clearing = JoinSet::new();
        clearing.spawn(leftovers.clear(sources.collect()));
        clearing
    }

    async fn listen(&self) -> Result<Subscriptions, Error> {
        let parts = &self.shared.parts;
        let inbox = parts.connection.client.new_inbox();
        let replies = parts.connection.listen(format!("{inbox}.*")).await?;
        let bells = parts.connection.listen(parts.names.all_bells()).await?;
        Ok(Subscriptions {
            inbox,
            replies,
            bells,
        })
    }

    /// Learn which tenants and pools there are, and take those as sources that are served here.
    async fn look_for_pools(
        &self,
        sources: &mut Sources,
        known: &mut Known,
    ) -> Result<Looks, Error> {
        let parts = &self.shared.parts;
        let looks = Looks::at(clock::instant());
        let found = parts.provisioner.served().await?;
        self.ask_the_time().await;
        let served = found
            .pools
            .iter()
            .filter(|labels| self.serves.takes(labels))
            .map(Labels::pool);
        let served: Vec<String> = std::iter::once(Labels::default().pool())
            .chain(served)
            .collect();
        for tenant in &found.tenants {
            known.tenants.insert(tenant.name);
            if !known.denied.contains(&tenant.name) {
                let new = parts.bundles.sources(tenant.name, &served);
                sources.add(tenant.name, tenant.weight, new);
            }
        }
        known.pools.extend(found.pools.iter().map(Labels::pool));
        known.pools.insert(Labels::default().pool());
        Ok(looks)
    }

    /// Learn what the server's clock says. Where that fails, bills are less exact.
    async fn ask_the_time(&self) {
        #[derive(Deserialize)]
        struct Info {
            ts: String,
        }
        let parts = &self.shared.parts;
        let subject = format!("STREAM.INFO.{}", parts.names.meta_stream());
        let asked = clock::instant();
        let answer = parts
            .jetstream
            .api(&subject, &serde_json::Value::Null)
            .await;
        if let Ok(Ok(Info { ts })) = answer {
            parts.admission.server_clock.told(asked, &ts);
        }
    }

    async fn act(
        &self,
        subscriptions: &Subscriptions,
        commands: Vec<Command>,
        sources: &mut Sources,
    ) -> Result<(), Error> {
        for command in commands {
            match command {
                Command::Ask {
                    question,
                    source,
                    batch,
                    wait,
                } => {
                    self.ask(subscriptions, question, &source, batch, wait)
                        .await?
                }
                Command::Suspect(source) => {
                    if self.waits_in_vain(&source).await? {
                        tracing::warn!(
                            tenant = %source.tenant,
                            shard = source.shard,
                            pool = source.pool,
                            "bundles were waiting but not delivered; sending a new pull request"
                        );
                        let further = sources.on(Event::Stuck, self.steady.now());
                        Box::pin(self.act(subscriptions, further, sources)).await?;
                    }
                }
                Command::Lost { source } => {
                    tracing::info!(
                        shard = source.shard,
                        pool = source.pool,
                        "a pull request to the broker was lost; sending it again"
                    );
                }
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        subscriptions: &Subscriptions,
        question: u64,
        source: &Source,
        batch: usize,
        wait: Wait,
    ) -> Result<(), Error> {
        let parts = &self.shared.parts;
        let subject = format!(
            "{ASK}.{}.{}",
            parts.names.tasks_stream(&source.tenant, source.shard),
            parts.names.consumer(source)
        );
        let content = match wait {
            Wait::No => serde_json::json!({ "batch": batch, "no_wait": true }),
            Wait::AtHome => serde_json::json!({
                "batch": batch,
                "expires": WAIT_MAX.as_nanos(),
                "idle_heartbeat": HEARTBEAT.as_nanos(),
            }),
        };
        let asked = parts
            .connection
            .client
            .publish_with_reply(
                subject,
                format!("{}.{question}", subscriptions.inbox),
                Bytes::from(content.to_string()),
            )
            .await;
        asked.map_err(|error| parts.connection.unreachable(error.to_string()))
    }

    /// Whether a source has bundles although a pull request waits there.
    async fn waits_in_vain(&self, source: &Source) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Info {
            num_pending: u64,
        }
        let parts = &self.shared.parts;
        let subject = format!(
            "CONSUMER.INFO.{}.{}",
            parts.names.tasks_stream(&source.tenant, source.shard),
            parts.names.consumer(source)
        );
        match parts
            .jetstream
            .api::<Info>(&subject, &serde_json::Value::Null)
            .await
        {
            Ok(Ok(Info { num_pending })) => Ok(num_pending > 0),
            Ok(Err(refusal)) => Err(parts.jetstream.refused(&refusal)),
            // A server that does not answer is unreachable, not stuck.
            Err(Error::Unreachable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn on_reply(
        &self,
        inbox: &str,
        message: Message,
        leased: Instant,
        admitting: &mut Admitting,
    ) -> Option<Event> {
        let Some(status) = message.status else {
            let admission = self.shared.parts.admission.clone();
            let Some(origin) = admission.origin(&message, leased) else {
                let stray = admission.stray(&message)?;
                let delivered = Event::Delivered {
                    source: stray.source.clone(),
                    sequence: stray.sequence,
                    pending: stray.pending,
                };
                admitting.push(Box::pin(async move {
                    admission.discard(message, stray).await;
                    None
                }));
                return Some(delivered);
            };
            let delivered = Event::Delivered {
                source: origin.source.clone(),
                sequence: origin.sequence(),
                pending: origin.pending,
            };
            let is_again = origin.is_again();
            let admit = async move { admission.admit(message, origin).await };
            admitting.push(if is_again {
                // It reads what of its job ended, which may be much: not on this task.
                Box::pin(tokio::spawn(admit).map(|admitted| admitted.ok().flatten()))
            } else {
                Box::pin(admit)
            });
            return Some(delivered);
        };
        let question = message
            .subject
            .strip_prefix(inbox)?
            .strip_prefix('.')?
            .parse()
            .ok()?;
        match status.as_u16() {
            100 => Some(Event::Waiting { question }),
            404 | 408 => Some(Event::Ended { question }),
            status => {
                let said = message.description.unwrap_or_default();
                tracing::info!(
                    status,
                    said = %said.escape_debug(),
                    "the broker ended a pull request"
                );
                Some(Event::Ended { question })
            }
        }
    }

    fn offer(&self, held: Option<HeldLease>) {
        let Some(held) = held else { return };
        let mut queue = self.shared.queue.lock();
        queue.spares.push_back((clock::instant(), held));
        queue.serve();
    }

    async fn release_old_spares(&self) -> Result<(), Error> {
        loop {
            let old = {
                let mut queue = self.shared.queue.lock();
                let is_old = queue
                    .spares
                    .front()
                    .is_some_and(|(since, _)| since.elapsed() >= SPARE_TIME_MAX);
                if is_old {
                    queue.spares.pop_front()
                } else {
                    None
                }
            };
            let Some((_, held)) = old else { return Ok(()) };
            self.shared.parts.leases.release(&held).await?;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
