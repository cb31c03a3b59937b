//! Objects: immutable bytes that a task was handed, read by range or as a stream.
//!
//! [`Object`] reads anywhere and implements `Read`, `BufRead` and `Seek`; [`Reader`] only moves
//! forward and lets the host read ahead. Both hold one buffer, which is the memory block the host
//! answered with: bytes are copied once, into the caller's hands, or not at all through `BufRead`.
//! Memory is bounded by `FILL_BYTES_MAX` for an object and `NEXT_BYTES` for a reader, whatever the
//! object's size; only [`Object::read_all`] holds a whole object.
//!
//! A task reads one version of an object. When the stored object changes, reads fail with
//! [`Error::Changed`], as an [`io::Error`] that `?` turns into a failure. No object can be opened
//! by name inside a sandbox; [`Object::open`] exists for native tests only.

mod error;
mod source;

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

pub use error::Error;
#[cfg(target_arch = "wasm32")]
pub(crate) use source::translate;
use source::{Info, Source, Stream};

/// How much an object asks for first, and after every seek out of its buffer: a page of a table or
/// the trailer of a file, not yet a scan.
const FILL_BYTES_MIN: u32 = 64 << 10;

/// How much an object asks for at most while it is read in sequence (the request doubles with every
/// fill up to here). The contract lets the host shorten anything longer.
const FILL_BYTES_MAX: u32 = 1 << 20;

/// How much a reader asks for at a time: enough to make the crossing cheap, little enough to stay
/// in the processor's cache.
const NEXT_BYTES: u32 = 256 << 10;

/// How much [`Object::read_all`] asks for at a time, so that a host that hands out a lot at once
/// does not double the memory needed.
const READ_ALL_BYTES: u32 = 16 << 20;

/// An object argument of this task.
///
/// ```
/// use sortie_guest::Object;
/// use std::io::{Read as _, Seek as _, SeekFrom};
///
/// let mut object = Object::from_bytes("numbers.txt", b"one two three".to_vec());
/// assert_eq!(object.size(), 13);
/// assert_eq!(object.read_at(4, 3).unwrap(), b"two");
///
/// let mut last = String::new();
/// object.seek(SeekFrom::End(-5)).unwrap();
/// object.read_to_string(&mut last).unwrap();
/// assert_eq!(last, "three");
/// ```
///
/// A clone has a position of its own, which begins where the original's is, and shares the host's
/// handle.
pub struct Object {
    source: Source,
    info: Arc<OnceLock<Info>>,
    buffer: Buffer,
    /// Where the buffer's first byte is in the object.
    buffer_start: u64,
    /// How much the next fill asks for at least.
    fill_bytes: u32,
}

impl Object {
    /// An object that holds `bytes`, for tests and for handing bytes to code that takes an object.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let info = Info {
            name: name.into(),
            size: bytes.len() as u64,
            etag: None,
            content_type: None,
        };
        Self::new(Source::from_bytes(bytes), OnceLock::from(info))
    }

    /// A local file as an object, for native tests.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = std::fs::File::open(path)?;
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let info = Info {
            name,
            size: file.metadata()?.len(),
            etag: None,
            content_type: None,
        };
        Ok(Self::new(Source::from_file(file), OnceLock::from(info)))
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn from_handle(handle: crate::bindings::sortie::task::objects::Object) -> Self {
        Self::new(Source::Handle(Arc::new(handle)), OnceLock::new())
    }

    /// The host's handle, if it has one.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn handle(&self) -> Option<&crate::bindings::sortie::task::objects::Object> {
        match &self.source {
            Source::Handle(handle) => Some(handle),
            Source::Local(_) => None,
        }
    }

    fn new(source: Source, info: OnceLock<Info>) -> Self {
        Self {
            source,
            info: Arc::new(info),
            buffer: Buffer::default(),
            buffer_start: 0,
            fill_bytes: FILL_BYTES_MIN,
        }
    }

    /// The last segment of the object's path: `report.pdf`.
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.info().size
    }

    /// The store's validator for this version, when the store gives one.
    pub fn etag(&self) -> Option<&str> {
        self.info().etag.as_deref()
    }

    /// Media type, when the store knows it.
    pub fn content_type(&self) -> Option<&str> {
        self.info().content_type.as_deref()
    }

    /// The bytes from `offset`, `len` of them or up to the object's end. Independent of the
    /// position that `Read` and `Seek` use, and not buffered.
    pub fn read_at(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut bytes = self.piece(offset, len)?;
        // A host may hand out less than was asked for; only an empty answer means the end.
        while let Some(missing) = remaining(len, bytes.len()) {
            let more = self.piece(offset.saturating_add(bytes.len() as u64), missing)?;
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// The whole object, from its first byte. The memory for it is reserved once.
    ///
    /// Fails with [`io::ErrorKind::OutOfMemory`] when the object is larger than memory can be.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size())
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let first = self.piece(0, at_most(READ_ALL_BYTES, size))?;
        if first.len() >= size {
            return Ok(first);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        let mut piece = first;
        while !piece.is_empty() {
            bytes.extend_from_slice(&piece);
            // Given back before the next piece is asked for.
            drop(piece);
            piece = self.piece(
                bytes.len() as u64,
                at_most(READ_ALL_BYTES, size.saturating_sub(bytes.len())),
            )?;
        }
        Ok(bytes)
    }

    /// A stream over the object from its first byte. Prefer it to reading the object itself where
    /// the whole object is read in order: the host reads ahead.
    pub fn reader(&self) -> Reader {
        self.reader_at(0)
    }

    /// A stream over the object from `offset`.
    pub fn reader_at(&self, offset: u64) -> Reader {
        Reader {
            stream: self.source.stream(offset),
            name: self.name().to_owned(),
            buffer: Buffer::default(),
        }
    }

    fn info(&self) -> &Info {
        #[cfg(target_arch = "wasm32")]
        return self.info.get_or_init(|| self.source.info());
        #[cfg(not(target_arch = "wasm32"))]
        self.info.get_or_init(Info::default)
    }

    fn piece(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        self.source.read_at(offset, len, || self.name().to_owned())
    }

    fn position(&self) -> u64 {
        self.buffer_start.saturating_add(self.buffer.used as u64)
    }

    /// Replace the used-up buffer by the bytes that follow it.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let position = self.position();
        let len = self.fill_bytes.max(at_most(FILL_BYTES_MAX, wanted));
        // The old block goes back to the allocator before the new one is made.
        self.buffer = Buffer::default();
        self.buffer_start = position;
        self.buffer = Buffer::new(self.piece(position, len)?);
        self.fill_bytes = self.fill_bytes.saturating_mul(2).min(FILL_BYTES_MAX);
        Ok(())
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            info: self.info.clone(),
            buffer: Buffer::default(),
            buffer_start: self.position(),
            fill_bytes: FILL_BYTES_MIN,
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.name())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Read for Object {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffer.rest().is_empty() && !into.is_empty() {
            self.fill(into.len())?;
        }
        Ok(self.buffer.take(into))
    }

    /// The rest of the object; the memory for it is reserved once.
    fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let left = self.size().saturating_sub(self.position());
        into.try_reserve_exact(
            usize::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?,
        )?;
        let before = into.len();
        loop {
            let piece = self.fill_buf()?;
            if piece.is_empty() {
                return Ok(into.len() - before);
            }
            into.extend_from_slice(piece);
            let used = piece.len();
            self.consume(used);
        }
    }
}

impl BufRead for Object {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer.rest().is_empty() {
            self.fill(0)?;
        }
        Ok(self.buffer.rest())
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.consume(amount);
    }
}

impl Seek for Object {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.size().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position().checked_add_signed(distance),
        };
        let target = target.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "seek to before the object's first byte",
            )
        })?;
        let within = target
            .checked_sub(self.buffer_start)
            .and_then(|offset| usize::try_from(offset).ok());
        match within.filter(|&offset| offset <= self.buffer.bytes.len()) {
            Some(offset) => self.buffer.used = offset,
            None => {
                self.buffer = Buffer::default();
                self.buffer_start = target;
                self.fill_bytes = FILL_BYTES_MIN;
            }
        }
        Ok(target)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position())
    }
}

/// A position in an object, moving forward. The host reads ahead of it; memory does not grow with
/// the object.
pub struct Reader {
    stream: Stream,
    /// The object's, for errors.
    name: String,
    buffer: Buffer,
}

impl Reader {
    fn fill(&mut self) -> io::Result<()> {
        self.buffer = Buffer::default();
        let bytes = self.stream.next(NEXT_BYTES, || self.name.clone())?;
        self.buffer = Buffer::new(bytes);
        Ok(())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffer.rest().is_empty() && !into.is_empty() {
            self.fill()?;
        }
        Ok(self.buffer.take(into))
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer.rest().is_empty() {
            self.fill()?;
        }
        Ok(self.buffer.rest())
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.consume(amount);
    }
}

/// A block of bytes, used from the front. `used` is at most the length.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    fn consume(&mut self, amount: usize) {
        self.used = self.used.saturating_add(amount).min(self.bytes.len());
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let taken = self.rest().iter().zip(into.iter_mut()).len();
        if let (Some(into), Some(from)) = (into.get_mut(..taken), self.rest().get(..taken)) {
            into.copy_from_slice(from);
        }
        self.consume(taken);
        taken
    }
}

/// `wanted`, or `limit` if that is less.
fn at_most(limit: u32, wanted: usize) -> u32 {
    u32::try_from(wanted).map_or(limit, |wanted| wanted.min(limit))
}

/// What is missing of `len` when `got` has been read; `None` when nothing is.
fn remaining(len: u32, got: usize) -> Option<u32> {
    let got = u32::try_from(got).unwrap_or(u32::MAX);
    len.checked_sub(got).filter(|&missing| missing > 0)
}

#[cfg(test)]
mod tests;
