//! The resources of a task: handles to objects, readers, prefixes, listings, writers and outputs,
//! with their limits.
//!
//! [`ObjectsCtx`] counts what a task reads, [`OutputsCtx`] what it writes. [`ObjectsView`] finds
//! both in a store. The host functions are in `objects`, `prefixes` and `outputs`.
//!
//! Bounds: as many handles of all kinds as the memory limit pays for ([`Limits::handles`]); each
//! may have a cursor, which reads ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sortie_objects::output_store::{self, TenantStore};
use sortie_objects::{self as objects, Cursor, Object, WriteError};
use sortie_protocol::{ByteSize, Limits, TaskIndex};
use wasmtime::component::{HasData, ResourceTable};

use crate::clock;
use crate::sandbox::limits::{MemoryLimiter, Watch};

/// What a task reads, and how many handles it holds: objects, readers, prefixes, listings, writers
/// and what they made.
#[derive(Debug)]
pub(in crate::sandbox) struct ObjectsCtx {
    handles: usize,
    handles_max: usize,
    /// Of the handles, those to listings.
    listings: usize,
    /// Time that the task waited for objects.
    pub(in crate::sandbox) fetch: Duration,
    /// Bytes that were handed out.
    pub(in crate::sandbox) bytes_in: u64,
    /// The first time that an object could not be read. The function's answer depends on it, so it
    /// must not be kept as the task's result.
    pub(in crate::sandbox) error: Option<objects::Error>,
}

impl ObjectsCtx {
    pub(in crate::sandbox) fn new(limits: &Limits) -> Self {
        Self {
            handles: 0,
            handles_max: limits.handles(),
            listings: 0,
            fetch: Duration::ZERO,
            bytes_in: 0,
            error: None,
        }
    }

    /// Count one more handle.
    pub(in crate::sandbox) fn admit(&mut self) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            self.handles < self.handles_max,
            "more than {} objects, readers, prefixes, listings and writers at once; more memory \
             allows more",
            self.handles_max
        );
        self.handles += 1;
        Ok(())
    }

    /// Count one more handle to a listing.
    pub(super) fn admit_listing(&mut self) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            self.listings < Limits::LISTINGS_MAX,
            "more than {} listings at once",
            Limits::LISTINGS_MAX
        );
        self.admit()?;
        self.listings += 1;
        Ok(())
    }

    /// Count one handle to a listing less.
    pub(super) fn release_listing(&mut self) {
        self.listings = self.listings.saturating_sub(1);
        self.release();
    }

    /// Count one handle less.
    pub(super) fn release(&mut self) {
        self.handles = self.handles.saturating_sub(1);
    }
}

/// What a task writes, and where.
#[derive(Debug)]
pub(in crate::sandbox) struct OutputsCtx {
    pub(super) output_store: Option<TenantStore>,
    pub(super) bytes_max: u64,
    /// Objects that are being written, or were made and not dropped.
    pub(super) held: usize,
    /// Bytes so far.
    pub(in crate::sandbox) bytes: u64,
    /// Time that the task waited for the output store.
    pub(in crate::sandbox) waited: Duration,
    /// The first time that the output store did not take an object.
    pub(in crate::sandbox) error: Option<WriteError>,
}

impl OutputsCtx {
    pub(in crate::sandbox) fn new(output_store: Option<TenantStore>, bytes_max: ByteSize) -> Self {
        Self {
            output_store,
            bytes_max: bytes_max.as_u64(),
            held: 0,
            bytes: 0,
            waited: Duration::ZERO,
            error: None,
        }
    }
}

/// A task's objects, in the store that runs it.
pub(in crate::sandbox) struct ObjectsCtxView<'a> {
    pub(in crate::sandbox) objects: &'a mut ObjectsCtx,
    pub(in crate::sandbox) outputs: &'a mut OutputsCtx,
    pub(in crate::sandbox) memory: &'a mut MemoryLimiter,
    pub(in crate::sandbox) watch: &'a Watch,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
}

impl ObjectsCtxView<'_> {
    /// Wait for an object, on the task's time.
    pub(super) async fn wait_for_object<T>(
        &mut self,
        fetching: impl Future<Output = T>,
    ) -> wasmtime::Result<T> {
        let began = clock::instant();
        let fetched = self.watch.bound_if_slow(fetching).await;
        self.objects.fetch += clock::instant() - began;
        fetched.map_err(wasmtime::Error::new)
    }

    /// Wait for the output store, on the task's time.
    pub(super) async fn wait_for_store<T>(
        &mut self,
        storing: impl Future<Output = T>,
    ) -> wasmtime::Result<T> {
        let began = clock::instant();
        let stored = self.watch.bound_if_slow(storing).await;
        self.outputs.waited += clock::instant() - began;
        stored.map_err(wasmtime::Error::new)
    }
}

/// Finds a task's objects in the data of its store.
pub(in crate::sandbox) trait ObjectsView: Send {
    fn objects(&mut self) -> ObjectsCtxView<'_>;
}

/// Tells wasmtime that the host functions work on an [`ObjectsCtxView`].
pub(super) struct HasObjects;

impl HasData for HasObjects {
    type Data<'a> = ObjectsCtxView<'a>;
}

/// A handle to an object.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Handle {
    pub(super) object: Object,
    /// None while a read has it.
    pub(super) cursor: Option<Cursor>,
}

impl Handle {
    pub(in crate::sandbox) fn new(object: Object) -> Self {
        Self {
            object,
            cursor: None,
        }
    }
}

/// A position in an object, moving forward.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Reader {
    pub(super) object: Object,
    /// None while a read has it.
    pub(super) cursor: Option<Cursor>,
    pub(super) offset: u64,
}

/// A prefix.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Prefix {
    pub(super) prefix: objects::Prefix,
}

impl Prefix {
    pub(in crate::sandbox) fn new(prefix: objects::Prefix) -> Self {
        Self { prefix }
    }
}

/// A position in a listing, moving forward.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Listing {
    /// None while a call waits for it.
    pub(super) listing: Option<objects::Listing>,
}

/// An object that is being written.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Writer {
    pub(super) content_type: Option<String>,
    pub(super) progress: Progress,
}

#[derive(Debug)]
pub(super) enum Progress {
    Open(Box<output_store::Writer>),
    /// A call waits for the output store. The function cannot make another call meanwhile, and if
    /// the wait ends early the instance is not entered again.
    Busy,
    Failed(WriteError),
}

/// An object that the task made, and that is to be seen only if it is the task's result.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Output {
    pub(super) content_type: Option<String>,
    pub(super) sealed: Box<output_store::Sealed>,
}

/// Subtasks that are waited for together.
#[derive(Debug, Default)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Group {
    /// In the order of their numbers.
    pub(super) tasks: Vec<TaskIndex>,
    pub(super) numbers: Arc<HashMap<TaskIndex, u32>>,
    /// How many subtasks of the task had ended, of whatever group, with the last that was told.
    pub(super) told: usize,
    /// How many of the group were told.
    pub(super) given: usize,
}
