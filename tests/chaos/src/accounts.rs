//! The users of a run: two tenants, the workers and an operator, as `deploy/nats` has them.
//!
//! The tasks that are judged are those of the tenant [`JUDGED`]. The tenant [`ATTACKING`] does what
//! its permissions allow, see [`attack`](crate::attack).

use std::num::{NonZeroU32, NonZeroUsize};

use anyhow::{Context, Result};
use sortie_broker::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie_harness::{NatsBuilder, NatsServer, repository};
use sortie_protocol::{Labels, TenantId};

use crate::plan::Plan;

/// The tenant whose tasks are judged.
pub const JUDGED: &str = "acme";
/// The tenant that attacks.
pub const ATTACKING: &str = "globex";
/// What waiting bundles of one tenant may take: a thousand times what waits in a run, and little to
/// fill.
const QUEUE_BYTES: NonZeroU32 = NonZeroU32::MIN.saturating_add((8 << 20) - 1);
/// What the servers may store of everything but outcomes: both queues, components, dead letters,
/// and a margin.
const STORAGE_BASE: u64 = 72 << 20;
/// What an outcome takes, with the parts of its report that it shares with others; twice as much as
/// was measured.
const OUTCOME_BYTES: u64 = 700;
/// The labels of a pool without workers.
const NOBODY: &str = "nobody";

/// Who speaks to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Operator,
    Worker,
    Judged,
    Attacking,
}

impl User {
    const ALL: [Self; 4] = [Self::Operator, Self::Worker, Self::Judged, Self::Attacking];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Worker => "worker",
            Self::Judged => JUDGED,
            Self::Attacking => ATTACKING,
        }
    }

    /// The servers' addresses with this user's name and password.
    pub(crate) fn urls(self, servers: &str) -> String {
        let name = self.name();
        servers.replace("nats://", &format!("nats://{name}:{}@", self.password()))
    }

    pub(crate) fn password(self) -> String {
        format!("{}-pw", self.name())
    }

    /// Where this user's answers go: it may listen nowhere else.
    pub(crate) fn inbox(self) -> String {
        match self {
            Self::Worker => "_INBOX.worker".to_owned(),
            Self::Operator | Self::Judged | Self::Attacking => {
                format!("_INBOX.client.{}", self.name())
            }
        }
    }
}

/// A tenant by its name.
///
/// # Panics
/// Never: both names are valid.
pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant's name")
}

/// The labels of a pool without workers: what waits for it waits until it is removed.
///
/// # Panics
/// Never: it is a label.
pub(crate) fn nobody() -> Labels {
    NOBODY.parse().expect("a label")
}

/// A server with the accounts that are deployed, which may store what the plan's tasks need.
pub(crate) fn server(plan: &Plan) -> Result<NatsBuilder> {
    let path = repository().join("deploy/nats/accounts.conf");
    let accounts = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read `{}`", path.display()))?;
    let tasks = plan.work.tasks + 2 * plan.graph_tasks as u64;
    let storage = STORAGE_BASE + tasks * OUTCOME_BYTES;
    let builder = NatsServer::builder()
        .jetstream(&format!("max_file_store: {storage}"))
        .config(&accounts);
    Ok(User::ALL.into_iter().fold(builder, |builder, user| {
        let variable = format!("SORTIE_{}_PASSWORD", user.name().to_uppercase());
        builder.variable(&variable, &user.password())
    }))
}

/// Lay out the installation, with both tenants and the pool without workers.
pub(crate) async fn lay_out(plan: &Plan, servers: &str, replicas: usize) -> Result<()> {
    let layout = Layout {
        replicas: NonZeroUsize::new(replicas).context("no servers")?,
        lease: plan.lease,
        tasks_bytes_max: QUEUE_BYTES,
        ..Layout::default()
    };
    for name in [JUDGED, ATTACKING] {
        let config = Config {
            tenant: tenant(name),
            provision: Provision::Missing(layout.clone()),
            ..Config::new(User::Operator.urls(servers), Role::Client)
        };
        NatsBroker::init(config, &[nobody()])
            .await
            .with_context(|| format!("failed to lay out the tenant `{name}`"))?;
    }
    Ok(())
}
