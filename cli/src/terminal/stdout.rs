//! Standard output, as a sink of lines.
//!
//! A process may be started without standard output (`>&-`). Before `main` Rust's runtime opens
//! `/dev/null` in its place, and what is written there is lost without an error. Nothing tells it
//! from a `/dev/null` that the caller chose, which some programs open in the same way for their
//! children. So it is looked at before: C's start-up calls [`look`] ahead of the runtime.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use sortie_frontend::results::{self, Flow, Lines, Writer};

use crate::ending::Error;

/// The number of standard output.
const STDOUT: i32 = 1;

/// Whether the process was started without a standard output that can be written to.
static IS_MISSING: AtomicBool = AtomicBool::new(false);

#[expect(
    unsafe_code,
    reason = "there is no other way to run ahead of Rust's runtime; `look` needs nothing of it"
)]
// SAFETY: what lies in this section has to be pointers to functions that may run before `main`.
// This is one: `look` makes a system call and sets an atomic variable, and cannot panic.
#[used]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static LOOK: extern "C" fn() = look;

/// Look whether standard output can be written to.
extern "C" fn look() {
    #[expect(
        unsafe_code,
        reason = "the handles of the standard library are made by its runtime"
    )]
    // SAFETY: the descriptor is asked for its mode, which is an error where there is none, and
    // nothing else runs yet that could open or close it.
    let stdout = unsafe { BorrowedFd::borrow_raw(STDOUT) };
    let mode = rustix::fs::fcntl_getfl(stdout).map(|flags| flags & OFlags::RWMODE);
    let is_open = mode.is_ok_and(|mode| mode != OFlags::RDONLY);
    IS_MISSING.store(!is_open, Ordering::Relaxed);
}

/// What is written to standard output. One that was closed from the start is like a pipe whose
/// reader has gone.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if IS_MISSING.load(Ordering::Relaxed) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl AsFd for Stdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdout()
    }
}

/// Standard output. It is not locked, so that progress can be shown meanwhile.
pub(crate) fn lines() -> Lines {
    Lines::to(Stdout, "standard output")
}

/// Check, before anything is done whose result has to be printed, that it can be.
///
/// # Errors
/// When standard output is closed already.
pub(crate) fn check() -> Result<(), Error> {
    if IS_MISSING.load(Ordering::Relaxed) || results::is_closed(Stdout.as_fd()) {
        return Err(Error::Platform(
            "standard output is closed, and what is to be printed there would be lost; nothing \
             was done"
                .into(),
        ));
    }
    Ok(())
}

/// Write what waits, as the last of it or as a part.
///
/// # Errors
/// When it cannot be written: also when the reader has gone, so that nobody takes a part for all.
pub(crate) fn flush(lines: &mut Lines) -> Result<(), Error> {
    match lines.flush()? {
        Flow::Open => Ok(()),
        Flow::Closed => Err(closed()),
    }
}

/// Whoever read standard output has gone.
pub(crate) fn closed() -> Error {
    Error::Platform("standard output was closed before everything was written to it".into())
}

/// Whether a person sees the results as they are written.
pub(crate) fn is_terminal(writer: &Writer) -> bool {
    match writer.lines() {
        None => false,
        Some(lines) => match lines.file() {
            Some(file) => file.is_terminal(),
            None => io::stdout().is_terminal(),
        },
    }
}
