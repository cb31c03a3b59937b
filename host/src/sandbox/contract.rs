//! The host's side of `wit/sortie-task`: objects, and the log. What tasks make is in [`outputs`],
//! places with many objects in [`prefixes`].
//!
//! Each handle has a cursor of its own, which sees how it is read and holds what is worth holding
//! within the process's budget; here is only what one call may bring. [`HANDLES_MAX`] bounds how
//! many cursors there are.

mod outputs;
mod prefixes;

use wasmtime::component::{HasSelf, Linker, Resource};

use super::State;
use crate::clock;
use sortie_objects::{self as objects, Access, Cursor, Object};

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
    object: Object,
    /// None while a read has it.
    cursor: Option<Cursor>,
}

impl Handle {
    pub(super) fn new(object: Object) -> Self {
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
    object: Object,
    /// None while a read has it.
    cursor: Option<Cursor>,
    offset: u64,
}

impl State {
    /// Up to `len` bytes at `offset`.
    async fn read(
        &mut self,
        cursor: &mut Cursor,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let began = clock::instant();
        let reading = cursor.read(offset, len.min(READ_BYTES_MAX).into());
        let read = self
            .watch
            .bound_if_slow(reading)
            .await
            .map_err(wasmtime::Error::new)?;
        self.fetch += clock::instant() - began;
        match read {
            Ok(bytes) => {
                self.bytes_in += bytes.len() as u64;
                Ok(Ok(bytes.into()))
            }
            Err(error) => {
                // What the guest makes of it depends on the weather, so it must not be kept as the
                // task's result.
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
        F::Malformed | F::Missing | F::Denied | F::Unavailable => {
            wit_objects::Error::Unavailable(error.to_string())
        }
    }
}

impl wit_objects::HostObject for State {
    fn info(&mut self, handle: Resource<Handle>) -> wasmtime::Result<wit_objects::Info> {
        let objects::Info {
            name,
            size,
            etag,
            content_type,
        } = self.table.get(&handle)?.object.info().clone();
        Ok(wit_objects::Info {
            name,
            size,
            etag,
            content_type,
        })
    }

    async fn read_at(
        &mut self,
        handle: Resource<Handle>,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let entry = self.table.get_mut(&handle)?;
        let mut cursor = entry
            .cursor
            .take()
            .unwrap_or_else(|| Cursor::new(entry.object.clone(), Access::Random));
        let answer = self.read(&mut cursor, offset, len).await;
        self.table.get_mut(&handle)?.cursor = Some(cursor);
        answer
    }

    fn read(
        &mut self,
        handle: Resource<Handle>,
        offset: u64,
    ) -> wasmtime::Result<Resource<Reader>> {
        let object = self.table.get(&handle)?.object.clone();
        self.admit_handle()?;
        Ok(self.table.push(Reader {
            object,
            cursor: None,
            offset,
        })?)
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit_objects::HostReader for State {
    async fn next(
        &mut self,
        reader: Resource<Reader>,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_objects::Error>> {
        let entry = self.table.get_mut(&reader)?;
        let offset = entry.offset;
        let mut cursor = entry
            .cursor
            .take()
            .unwrap_or_else(|| Cursor::new(entry.object.clone(), Access::Sequential));
        let answer = self.read(&mut cursor, offset, len).await;
        let entry = self.table.get_mut(&reader)?;
        entry.cursor = Some(cursor);
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
    fn emit(
        &mut self,
        level: wit_log::Level,
        target: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let level = match level {
            wit_log::Level::Trace => "TRACE",
            wit_log::Level::Debug => "DEBUG",
            wit_log::Level::Info => "INFO",
            wit_log::Level::Warn => "WARN",
            wit_log::Level::Error => "ERROR",
        };
        let target = sortie_protocol::outcome::cut(target, TARGET_BYTES_MAX);
        self.log
            .append(format!("{level} {target}: {message}\n").as_bytes());
        Ok(())
    }
}
