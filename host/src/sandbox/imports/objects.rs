//! Host functions that read objects: `object` and `reader` of `sortie:task/objects`.
//!
//! Each handle has a cursor of its own, which detects how the object is read and reads ahead within
//! the process's memory budget. Here is only what bounds one call: [`READ_BYTES_MAX`].

use sortie_objects::{self as objects, Access, Cursor};
use sortie_protocol::outcome::InputFault;
use wasmtime::component::{Linker, Resource};

use super::handles::{Handle, HasObjects, ObjectsCtxView, ObjectsView, Reader};
use crate::sandbox::bindings::objects as wit;

/// The most bytes that one call hands out.
const READ_BYTES_MAX: u32 = 1 << 20;

pub(super) fn add_to_linker<T: ObjectsView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasObjects>(linker, T::objects)
}

impl ObjectsCtxView<'_> {
    /// Up to `len` bytes at `offset`.
    async fn read(
        &mut self,
        cursor: &mut Cursor,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
        let reading = cursor.read(offset, len.min(READ_BYTES_MAX).into());
        match self.wait_for_object(reading).await? {
            Ok(bytes) => {
                self.objects.bytes_in += bytes.len() as u64;
                Ok(Ok(bytes.into()))
            }
            Err(error) => {
                let answer = read_error(&error);
                self.objects.error.get_or_insert(error);
                Ok(Err(answer))
            }
        }
    }
}

/// An error as the function sees it: made for it, without what the submitter is told.
pub(super) fn read_error(error: &objects::Error) -> wit::Error {
    match error.fault {
        InputFault::Changed => wit::Error::Changed,
        InputFault::Malformed
        | InputFault::Missing
        | InputFault::Denied
        | InputFault::Unavailable => wit::Error::Unavailable(error.for_guest().to_owned()),
    }
}

impl wit::HostObject for ObjectsCtxView<'_> {
    fn info(&mut self, handle: Resource<Handle>) -> wasmtime::Result<wit::Info> {
        let objects::Info {
            name,
            size,
            etag,
            content_type,
        } = self.table.get(&handle)?.object.info().clone();
        Ok(wit::Info {
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
    ) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
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
        self.objects.admit()?;
        Ok(self.table.push(Reader {
            object,
            cursor: None,
            offset,
        })?)
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.objects.release();
        Ok(())
    }
}

impl wit::HostReader for ObjectsCtxView<'_> {
    async fn next(
        &mut self,
        reader: Resource<Reader>,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
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
        self.objects.release();
        Ok(())
    }
}
