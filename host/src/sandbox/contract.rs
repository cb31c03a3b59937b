//! The host's side of `wit/sortie-task`: objects, and the log. What tasks make is in [`outputs`], places with many objects in [`prefixes`].
//!
//! A read answers from a window that the host keeps per handle: one request brings [`WINDOW_MIN`] bytes, doubling up to [`WINDOW_MAX`] while the
//! guest reads on in order, so that small reads in sequence cost a copy each and not a request. Windows are host memory that a guest can make
//! us hold: [`HANDLES_MAX`] handles at most have one.

mod outputs;
mod prefixes;

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{ServedObject, State};
use crate::clock;
use crate::objects;

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/sortie-task",
        world: "task",
        imports: {
            "sortie:task/objects.[method]object.read-at": async | trappable,
            "sortie:task/objects.[method]reader.next": async | trappable,
            "sortie:task/objects.[method]prefix.open": async | trappable,
            "sortie:task/objects.[method]listing.next": async | trappable,
            "sortie:task/objects.[method]writer.write": async | trappable,
            "sortie:task/objects.[static]writer.finish": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "sortie:task/objects.object": super::Handle,
            "sortie:task/objects.reader": super::Reader,
            "sortie:task/objects.prefix": super::prefixes::Prefix,
            "sortie:task/objects.listing": super::prefixes::Listing,
            "sortie:task/objects.writer": super::outputs::Writer,
            "sortie:task/objects.output": super::outputs::Output,
        },
    });
}

pub(super) use generated::TaskPre;
pub(super) use generated::exports::sortie::task::handler;
use generated::sortie::task::log as wit_log;
use generated::sortie::task::objects as wit_objects;
pub(super) use outputs::Outputs;
pub(crate) use outputs::Returned;
pub(super) use prefixes::Prefix;

/// The most bytes that one call hands out.
const READ_BYTES_MAX: u32 = 1 << 20;
/// The first window of a handle: most documents fit.
const WINDOW_MIN: u64 = 1 << 20;
/// The largest window.
const WINDOW_MAX: u64 = 8 << 20;
/// Live handles in one task: objects, readers, prefixes, listings, writers and what they made.
pub(super) const HANDLES_MAX: usize = 64;
/// What is kept of one log line's target.
const TARGET_BYTES_MAX: usize = 256;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wit_objects::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    wit_log::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// A handle to an object, as the guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Handle {
    object: Arc<dyn ServedObject>,
    window: Window,
}

impl Handle {
    pub(super) fn new(object: Arc<dyn ServedObject>) -> Self {
        Self { object, window: Window::default() }
    }
}

/// A position in an object, moving forward.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Reader {
    object: Arc<dyn ServedObject>,
    window: Window,
    offset: u64,
}

/// A stretch of an object that was fetched, and how much to fetch next.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Bytes,
    size: u64,
}

impl Window {
    /// What the window holds at `offset`, up to `len` bytes; nothing if it does not reach there.
    fn get(&self, offset: u64, len: usize) -> Option<Bytes> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let left = self.bytes.len().checked_sub(skip).filter(|left| *left > 0)?;
        Some(self.bytes.slice(skip..skip + left.min(len)))
    }

    /// How much to fetch at `offset` for a read of `len`: more whenever the guest reads on where the window ends.
    fn plan(&self, offset: u64, len: u64) -> u64 {
        let in_order = !self.bytes.is_empty() && offset == self.start + self.bytes.len() as u64;
        let size = if in_order { self.size.saturating_mul(2) } else { WINDOW_MIN };
        size.clamp(WINDOW_MIN, WINDOW_MAX).max(len)
    }
}

impl State {
    /// Up to `len` bytes of `object` at `offset`, through `window`.
    async fn read(
        &mut self,
        object: &Arc<dyn ServedObject>,
        window: &mut Window,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let len = len.min(READ_BYTES_MAX);
        if len == 0 || offset >= object.info().size {
            return Ok(Ok(Vec::new()));
        }
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        if let Some(bytes) = window.get(offset, wanted) {
            return Ok(Ok(bytes.into()));
        }
        let size = window.plan(offset, len.into());
        let began = clock::instant();
        let fetched = self.watch.bound(object.read(offset..offset.saturating_add(size))).await.map_err(wasmtime::Error::new)?;
        self.fetch += clock::instant() - began;
        match fetched {
            Ok(bytes) => {
                self.bytes_in += bytes.len() as u64;
                *window = Window { start: offset, bytes, size };
                Ok(Ok(window.get(offset, wanted).unwrap_or_default().into()))
            }
            Err(error) => {
                // What the guest makes of it depends on the weather, so it must not be kept as the task's result.
                let answer = object_error(&error);
                self.input_error.get_or_insert(error);
                Ok(Err(answer))
            }
        }
    }
}

fn object_error(error: &objects::Error) -> wit_objects::Error {
    use sortie_protocol::outcome::InputFault as F;
    match error.fault {
        F::Changed => wit_objects::Error::Changed,
        F::Malformed | F::Missing | F::Denied | F::Unavailable => wit_objects::Error::Unavailable(error.to_string()),
    }
}

impl wit_objects::HostObject for State {
    fn info(&mut self, handle: Resource<Handle>) -> wasmtime::Result<wit_objects::Info> {
        let objects::Info { name, size, etag, content_type } = self.table.get(&handle)?.object.info().clone();
        Ok(wit_objects::Info { name, size, etag, content_type })
    }

    async fn read_at(&mut self, handle: Resource<Handle>, offset: u64, len: u32) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let entry = self.table.get_mut(&handle)?;
        let (object, mut window) = (entry.object.clone(), std::mem::take(&mut entry.window));
        let answer = self.read(&object, &mut window, offset, len).await;
        self.table.get_mut(&handle)?.window = window;
        answer
    }

    fn read(&mut self, handle: Resource<Handle>, offset: u64) -> wasmtime::Result<Resource<Reader>> {
        let object = self.table.get(&handle)?.object.clone();
        self.admit_handle()?;
        Ok(self.table.push(Reader { object, window: Window::default(), offset })?)
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit_objects::HostReader for State {
    async fn next(&mut self, reader: Resource<Reader>, len: u32) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let entry = self.table.get_mut(&reader)?;
        let (object, offset, mut window) = (entry.object.clone(), entry.offset, std::mem::take(&mut entry.window));
        let answer = self.read(&object, &mut window, offset, len).await;
        let entry = self.table.get_mut(&reader)?;
        entry.window = window;
        if let Ok(Ok(bytes)) = &answer {
            entry.offset += bytes.len() as u64;
        }
        answer
    }

    fn drop(&mut self, reader: Resource<Reader>) -> wasmtime::Result<()> {
        self.table.delete(reader)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit_log::Host for State {
    fn emit(&mut self, level: wit_log::Level, target: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            wit_log::Level::Trace => "TRACE",
            wit_log::Level::Debug => "DEBUG",
            wit_log::Level::Info => "INFO",
            wit_log::Level::Warn => "WARN",
            wit_log::Level::Error => "ERROR",
        };
        let target = sortie_protocol::outcome::cut(target, TARGET_BYTES_MAX);
        self.log.append(format!("{level} {target}: {message}\n").as_bytes());
        Ok(())
    }
}
