//! `sortie cache`: shows and clears the cache of results and compiled components.
//!
//! Other commands may run at the same time: they compile or compute again what was removed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use sortie::ByteSize;
use sortie::objects::Objects;
use sortie::objects::OutputStore;
use sortie::protocol::TenantId;
use sortie_frontend::chain;
use sortie_frontend::settings::{self, Cache, Clouds, Environment};
use sortie_host::cache::{self, Amount, Kept, Policy, SharedError, Usage};
use tokio::runtime::Handle;

use crate::arguments::cache::{Arguments, Command, Gc, Place};
use crate::ending::{Ending, Error};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::megabytes;
use crate::terminal::table;

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::Info(place) => info(place, environment, interrupt).await,
        Command::Clear(clear) => {
            if clear.place.store.is_some() && !clear.everyone {
                return Err(Error::Usage(
                    "--store names results that others may use, too; add --everyone to remove them \
                     for all, or leave --store out".into(),
                ));
            }
            remove(
                &clear.place,
                Removal {
                    policy: None,
                    shared_age_min: Some(Duration::ZERO),
                    objects: false,
                },
                environment,
                interrupt,
            )
            .await
        }
        Command::Gc(Gc {
            place,
            older_than,
            max,
            objects,
        }) => {
            if place.store.is_some() && older_than.is_none() {
                return Err(Error::Usage(
                    "--store needs --older-than: what is in a store is removed by its age only"
                        .into(),
                ));
            }
            let policy = Policy {
                age_max: *older_than,
                bytes_max: max.map(ByteSize::as_u64),
            };
            remove(
                place,
                Removal {
                    policy: Some(policy),
                    shared_age_min: *older_than,
                    objects: *objects,
                },
                environment,
                interrupt,
            )
            .await
        }
    }
}

/// What to remove: everything, or the entries that a policy selects.
#[derive(Debug, Clone, Copy)]
struct Removal {
    policy: Option<Policy>,
    shared_age_min: Option<Duration>,
    /// Objects that nothing refers to, of a store.
    objects: bool,
}

async fn info(
    place: &Place,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (folder, store) = (folder(place, environment)?, store(place, environment)?);
    let looked = folder.clone();
    let usage = in_background(interrupt, move || cache::info(&looked)).await?;
    let shared = match &store {
        Some(store) => Some(
            interrupt
                .or(cache::shared_info(store))
                .await?
                .map_err(refused_shared)?,
        ),
        None => None,
    };
    let mut shown = Shown::new(&folder, usage);
    shown.tenants = shared.map(|tenants| tenants.into_iter().map(ShownTenant::from).collect());
    shown.shared_memo = store
        .as_ref()
        .zip(shown.tenants.as_ref())
        .map(|(store, tenants)| ShownShared {
            url: store.place().to_string(),
            objects: tenants.iter().map(|tenant| tenant.results.files).sum(),
            bytes: tenants.iter().map(|tenant| tenant.results.bytes).sum(),
        });
    if place.json {
        table::print_json([shown])?;
    } else {
        show(&shown)?;
    }
    Ok(Ending::Completed)
}

async fn remove(
    place: &Place,
    removal: Removal,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (folder, store) = (folder(place, environment)?, store(place, environment)?);
    let looked = folder.clone();
    let usage = in_background(interrupt, move || match removal.policy {
        Some(policy) => cache::gc(&looked, policy),
        None => cache::clear(&looked),
    });
    let usage = usage.await?;
    let shared = match store.as_ref().zip(removal.shared_age_min) {
        Some((store, age)) => Some(
            interrupt
                .or(cache::shared_remove(store, age))
                .await?
                .map_err(refused_shared)?,
        ),
        None => None,
    };
    // After the results, so that what they referred to goes with them.
    let swept = match store.as_ref().zip(removal.shared_age_min) {
        Some((store, age)) if removal.objects => Some(
            interrupt
                .or(cache::shared_sweep(store, age))
                .await?
                .map_err(refused_shared)?,
        ),
        Some(_) | None => None,
    };
    let mut shown = Shown::new(&folder, usage);
    shown.shared_memo = store.as_ref().zip(shared).map(ShownShared::from);
    shown.shared_objects = store.as_ref().zip(swept).map(ShownShared::from);
    if place.json {
        table::print_json([shown])?;
    } else {
        let total = usage.total();
        let more = |amount: Option<Amount>, of: &str| {
            amount
                .map(|amount| format!(", and {} of {of}", amount_of(amount)))
                .unwrap_or_default()
        };
        terminal::say(&format!(
            "removed {} from {}{}{}",
            amount_of(total),
            folder.display(),
            more(shared, "the shared memo"),
            more(swept, "the objects that nothing refers to")
        ));
    }
    Ok(Ending::Completed)
}

fn folder(place: &Place, environment: &Environment) -> Result<PathBuf, Error> {
    match &place.cache {
        Some(Cache::Folder(folder)) => Ok(folder.clone()),
        Some(Cache::Off) => Err(Error::Usage(
            "--cache off is not a folder here; name the cache folder".into(),
        )),
        None => environment.cache.clone().ok_or_else(|| {
            Error::Usage(
                "neither HOME nor XDG_CACHE_HOME is set; name the cache folder with --cache".into(),
            )
        }),
    }
}

fn store(place: &Place, environment: &Environment) -> Result<Option<OutputStore>, Error> {
    let Some(text) = &place.store else {
        return Ok(None);
    };
    let Some(location) = settings::store(Some(text), environment)? else {
        return Ok(None);
    };
    let Clouds { config, troubles } = environment.clouds();
    if let Some(trouble) = troubles.with(text) {
        tracing::warn!("{trouble}");
    }
    let objects = Objects::new(config, Handle::current());
    Ok(Some(OutputStore::new(objects, location)))
}

/// Access the disk on a separate thread, so that signals are handled meanwhile.
async fn in_background(
    interrupt: &Interrupt,
    work: impl FnOnce() -> Result<Usage, cache::Error> + Send + 'static,
) -> Result<Usage, Error> {
    let ended = interrupt.or(tokio::task::spawn_blocking(work)).await?;
    let usage =
        ended.map_err(|error| Error::Platform(format!("failed to read the cache: {error}")))?;
    usage.map_err(|error| Error::Platform(chain(&error)))
}

fn refused_shared(error: SharedError) -> Error {
    Error::Platform(chain(&error))
}

#[derive(Debug, Serialize)]
struct Shown {
    folder: String,
    artifacts: ShownAmount,
    memo: ShownAmount,
    inputs: ShownAmount,
    store: ShownAmount,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memo: Option<ShownShared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_objects: Option<ShownShared>,
    /// What each tenant has in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<ShownTenant>>,
}

#[derive(Debug, Serialize)]
struct ShownAmount {
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ShownTenant {
    tenant: TenantId,
    results: ShownAmount,
    objects: ShownAmount,
}

#[derive(Debug, Serialize)]
struct ShownShared {
    url: String,
    objects: u64,
    bytes: u64,
}

impl Shown {
    fn new(folder: &std::path::Path, usage: Usage) -> Self {
        Self {
            folder: folder.display().to_string(),
            artifacts: usage.artifacts.into(),
            memo: usage.memo.into(),
            inputs: usage.inputs.into(),
            store: usage.store.into(),
            shared_memo: None,
            shared_objects: None,
            tenants: None,
        }
    }
}

impl From<Amount> for ShownAmount {
    fn from(Amount { files, bytes }: Amount) -> Self {
        Self { files, bytes }
    }
}

impl From<(TenantId, Kept)> for ShownTenant {
    fn from((tenant, kept): (TenantId, Kept)) -> Self {
        Self {
            tenant,
            results: kept.results.into(),
            objects: kept.objects.into(),
        }
    }
}

impl From<(&OutputStore, Amount)> for ShownShared {
    fn from((store, amount): (&OutputStore, Amount)) -> Self {
        Self {
            url: store.place().to_string(),
            objects: amount.files,
            bytes: amount.bytes,
        }
    }
}

fn show(shown: &Shown) -> Result<(), Error> {
    let row = |what: &str, amount: &ShownAmount| {
        [
            what.to_owned(),
            amount.files.to_string(),
            megabytes(ByteSize(amount.bytes)),
        ]
    };
    let mut rows = vec![
        row("compiled components", &shown.artifacts),
        row("results", &shown.memo),
        row("inputs", &shown.inputs),
        row("large outputs", &shown.store),
    ];
    if let Some(shared) = &shown.shared_memo {
        let tenants = shown.tenants.iter().flatten();
        for ShownTenant {
            tenant,
            results,
            objects,
        } in tenants
        {
            rows.push(row(
                &format!("results of {tenant} in {}", shared.url),
                results,
            ));
            rows.push(row(&format!("large outputs of {tenant} there"), objects));
        }
    }
    table::print([&shown.folder, "FILES", "SIZE"], rows)
}

fn amount_of(amount: Amount) -> String {
    let files = if amount.files == 1 {
        "1 file".to_owned()
    } else {
        format!("{} files", amount.files)
    };
    format!("{files} ({})", megabytes(ByteSize(amount.bytes)))
}
