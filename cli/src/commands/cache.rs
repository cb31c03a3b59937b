//! `sortie cache`: shows and clears the cache of results and compiled components.
//!
//! Other commands may run at the same time: they compile or compute again what was removed.

use std::path::{Path, PathBuf};
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

use crate::arguments::cache::{Arguments, Clear, Command, Gc, Place};
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
        Command::Clear(Clear { place, everyone }) => {
            let Some(store) = store_alone(place, environment)? else {
                return remove(place, None, environment, interrupt).await;
            };
            if !everyone {
                return Err(Error::Usage(
                    "--store names results that others may use, too; add --everyone to remove them \
                     for all, or leave --store out to clear the cache of this machine"
                        .into(),
                ));
            }
            let removal = Removal {
                age_min: Duration::ZERO,
                objects: false,
            };
            remove_shared(&store, removal, place.json, interrupt).await
        }
        Command::Gc(Gc {
            place,
            older_than,
            max,
            objects,
        }) => {
            let policy = Policy {
                age_max: *older_than,
                bytes_max: max.map(ByteSize::as_u64),
            };
            let Some(store) = store_alone(place, environment)? else {
                return remove(place, Some(policy), environment, interrupt).await;
            };
            let Some(age_min) = *older_than else {
                return Err(Error::Usage(
                    "--store needs --older-than: what is in a store is removed by its age only"
                        .into(),
                ));
            };
            let removal = Removal {
                age_min,
                objects: *objects,
            };
            remove_shared(&store, removal, place.json, interrupt).await
        }
    }
}

/// What to remove from a store.
#[derive(Debug, Clone, Copy)]
struct Removal {
    /// Results that were written longer ago than this.
    age_min: Duration,
    /// Also the objects of that age that nothing refers to.
    objects: bool,
}

/// The store, if one is named: then nothing on this machine is removed.
fn store_alone(place: &Place, environment: &Environment) -> Result<Option<OutputStore>, Error> {
    if place.store.is_some() && place.cache.is_some() {
        return Err(Error::Usage(
            "--cache and --store are two places; name one of them, and the other stays as it is"
                .into(),
        ));
    }
    store(place, environment)
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
    let mut shown = Shown::of(&folder, usage);
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
        show(&folder, usage, &shown)?;
    }
    Ok(Ending::Completed)
}

/// Remove what a policy selects, or everything, from the cache of this machine.
async fn remove(
    place: &Place,
    policy: Option<Policy>,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let folder = folder(place, environment)?;
    let looked = folder.clone();
    let usage = in_background(interrupt, move || match policy {
        Some(policy) => cache::gc(&looked, policy),
        None => cache::clear(&looked),
    });
    let usage = usage.await?;
    if place.json {
        table::print_json([Shown::of(&folder, usage)])?;
    } else {
        terminal::say(&format!(
            "removed {} from {}",
            amount_of(usage.total()),
            folder.display()
        ));
    }
    Ok(Ending::Completed)
}

/// Remove old results from a store, and perhaps what they referred to.
async fn remove_shared(
    store: &OutputStore,
    removal: Removal,
    json: bool,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let Removal { age_min, objects } = removal;
    let removed = interrupt
        .or(cache::shared_remove(store, age_min))
        .await?
        .map_err(refused_shared)?;
    // After the results, so that what they referred to goes with them.
    let swept = if objects {
        let sweeping = interrupt.or(cache::shared_sweep(store, age_min)).await?;
        Some(sweeping.map_err(refused_shared)?)
    } else {
        None
    };
    if json {
        table::print_json([Shown {
            shared_memo: Some((store, removed).into()),
            shared_objects: swept.map(|swept| (store, swept).into()),
            ..Shown::default()
        }])?;
    } else {
        let swept = swept.map_or_else(String::new, |swept| {
            let amount = amount_of(swept);
            format!(", and {amount} of the objects that nothing refers to")
        });
        terminal::say(&format!(
            "removed {} of the results in {}{swept}",
            amount_of(removed),
            store.place()
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

#[derive(Debug, Default, Serialize)]
struct Shown {
    /// Unless nothing on this machine was asked for.
    #[serde(flatten)]
    local: Option<ShownLocal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memo: Option<ShownShared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_objects: Option<ShownShared>,
    /// What each tenant has in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<ShownTenant>>,
}

#[derive(Debug, Serialize)]
struct ShownLocal {
    folder: String,
    artifacts: ShownAmount,
    memo: ShownAmount,
    inputs: ShownAmount,
    store: ShownAmount,
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
    /// What is in the folder, or was removed from it.
    fn of(folder: &Path, usage: Usage) -> Self {
        Self {
            local: Some(ShownLocal {
                folder: folder.display().to_string(),
                artifacts: usage.artifacts.into(),
                memo: usage.memo.into(),
                inputs: usage.inputs.into(),
                store: usage.store.into(),
            }),
            ..Self::default()
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

fn show(folder: &Path, usage: Usage, shown: &Shown) -> Result<(), Error> {
    let row = |what: &str, amount: &ShownAmount| {
        [
            what.to_owned(),
            amount.files.to_string(),
            megabytes(ByteSize(amount.bytes)),
        ]
    };
    let mut rows = vec![
        row("compiled components", &usage.artifacts.into()),
        row("results", &usage.memo.into()),
        row("inputs", &usage.inputs.into()),
        row("large outputs", &usage.store.into()),
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
    table::print([&*folder.display().to_string(), "FILES", "SIZE"], rows)
}

fn amount_of(amount: Amount) -> String {
    let files = if amount.files == 1 {
        "1 file".to_owned()
    } else {
        format!("{} files", amount.files)
    };
    format!("{files} ({})", megabytes(ByteSize(amount.bytes)))
}
