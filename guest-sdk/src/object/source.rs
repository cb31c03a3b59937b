//! Where an object's bytes come from: the host's handle, bytes in memory, or a local file in native
//! tests.
//!
//! The one place that knows the contract's object calls. The sources that are not the host's keep
//! the same promises: short only at the end, empty only past it.

#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
use std::io;
use std::sync::Arc;

#[cfg(target_arch = "wasm32")]
use super::error::Error;
#[cfg(target_arch = "wasm32")]
use crate::bindings::sortie::task::objects;

/// What is known of an object without reading it.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
    pub(super) content_type: Option<String>,
}

/// Something that can be read anywhere. Clones are one handle at the host.
#[derive(Clone)]
pub(super) enum Source {
    /// The host's.
    #[cfg(target_arch = "wasm32")]
    Handle(Arc<objects::Object>),
    /// This program's.
    Local(Local),
}

/// Something that can be read forward.
pub(super) enum Stream {
    /// The host's.
    #[cfg(target_arch = "wasm32")]
    Handle(objects::Reader),
    /// This program's; the next read is at `offset`.
    Local { local: Local, offset: u64 },
}

/// A source that needs no host.
#[derive(Clone)]
pub(super) enum Local {
    Memory(Arc<Vec<u8>>),
    #[cfg(not(target_arch = "wasm32"))]
    File(Arc<File>),
}

impl Source {
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Local(Local::Memory(Arc::new(bytes)))
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn from_file(file: File) -> Self {
        Self::Local(Local::File(Arc::new(file)))
    }

    /// What the host knows of the object; of local sources it is known when they are made.
    #[cfg(target_arch = "wasm32")]
    pub(super) fn info(&self) -> Info {
        match self {
            Self::Handle(handle) => {
                let objects::Info {
                    name,
                    size,
                    etag,
                    content_type,
                } = handle.info();
                Info {
                    name,
                    size,
                    etag,
                    content_type,
                }
            }
            Self::Local(_) => Info::default(),
        }
    }

    /// One read; `name` is asked for the object's name if it fails.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(unused_variables, reason = "only the host's errors lack a name")
    )]
    pub(super) fn read_at(
        &self,
        offset: u64,
        len: u32,
        name: impl FnOnce() -> String,
    ) -> io::Result<Vec<u8>> {
        match self {
            #[cfg(target_arch = "wasm32")]
            Self::Handle(handle) => handle
                .read_at(offset, len)
                .map_err(|error| translate(error, name())),
            Self::Local(local) => local.read_at(offset, len),
        }
    }

    pub(super) fn stream(&self, offset: u64) -> Stream {
        match self {
            #[cfg(target_arch = "wasm32")]
            Self::Handle(handle) => Stream::Handle(handle.read(offset)),
            Self::Local(local) => Stream::Local {
                local: local.clone(),
                offset,
            },
        }
    }
}

impl Stream {
    /// The next bytes; `name` is asked for the object's name if that fails.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(unused_variables, reason = "only the host's errors lack a name")
    )]
    pub(super) fn next(&mut self, len: u32, name: impl FnOnce() -> String) -> io::Result<Vec<u8>> {
        match self {
            #[cfg(target_arch = "wasm32")]
            Self::Handle(handle) => handle.next(len).map_err(|error| translate(error, name())),
            Self::Local { local, offset } => {
                let bytes = local.read_at(*offset, len)?;
                *offset = offset.saturating_add(bytes.len() as u64);
                Ok(bytes)
            }
        }
    }
}

impl Local {
    fn read_at(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| bytes.get(offset..))
                    .unwrap_or_default();
                Ok(rest.iter().copied().take(len as usize).collect())
            }
            #[cfg(not(target_arch = "wasm32"))]
            Self::File(file) => read_file_at(file, offset, len),
        }
    }
}

/// Read until `len` bytes are there or the file ends.
#[cfg(not(target_arch = "wasm32"))]
fn read_file_at(file: &File, offset: u64, len: u32) -> io::Result<Vec<u8>> {
    let left = file
        .metadata()?
        .len()
        .saturating_sub(offset)
        .min(u64::from(len));
    let mut bytes =
        vec![0; usize::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?];
    let mut done = 0;
    while let Some(missing) = bytes.get_mut(done..).filter(|missing| !missing.is_empty()) {
        match read_once_at(file, offset.saturating_add(done as u64), missing) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(unix)]
fn read_once_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, offset)
}

#[cfg(windows)]
fn read_once_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, offset)
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn translate(error: objects::Error, name: String) -> io::Error {
    match error {
        objects::Error::Changed => Error::Changed { name }.into(),
        objects::Error::Unavailable(reason) => Error::Unavailable { name, reason }.into(),
        objects::Error::Missing => Error::Missing { name }.into(),
        objects::Error::Invalid(reason) => Error::Invalid { name, reason }.into(),
    }
}
