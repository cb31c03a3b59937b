//! Tells whether whoever reads a pipe has taken what was written to it.
//!
//! What a pipe accepted is in the system's memory and not with its reader, which may leave without
//! it. So results that are kept elsewhere until they are read stay there until the pipe is empty.
//! A reader that takes all of them and leaves at once, as `head` does with a few lines, did not
//! want the end either: one that did is still there, because the end comes only when the pipe is
//! closed. It is given [`LEAVE_TIME`] to leave.
//!
//! Only pipes tell how much of them was taken. Of a socket or a terminal it is known whether it was
//! closed; what was written to a file is there.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};
use tokio::time::{Instant, sleep, timeout};

use crate::stop::{Stop, Stopped};

/// How long a reader may take for what is in the pipe. A person who pages through results, or a
/// program that works on each line, may take minutes for the 64 KiB.
const TAKE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a reader that has taken everything may stay without having waited for the end: far
/// longer than a program takes from its last read to its exit, unnoticed by a person.
const LEAVE_TIME: Duration = Duration::from_millis(500);
/// How soon it is looked again whether a pipe is empty, at first.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// The same for a reader that is slow: each pause is twice the one before, up to this.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

/// What became of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Its reader has it, as far as that can be known.
    All,
    /// Its reader has gone, and may not have all of it.
    Closed,
    /// Its reader is there, and has not taken all of it for ten minutes.
    Late,
}

/// Wait until the reader has taken what was written. Cancel safe.
pub(crate) async fn taken(fd: BorrowedFd<'_>, stop: &Stop) -> Result<Taken, Stopped> {
    if !is_pipe(fd) {
        return Ok(if is_closed(fd) {
            Taken::Closed
        } else {
            Taken::All
        });
    }
    let taking = timeout(TAKE_TIME_MAX, emptied(fd));
    match stop.or(taking).await? {
        Ok(Taken::All) => {}
        Ok(other) => return Ok(other),
        Err(_) => return Ok(Taken::Late),
    }
    let until = Instant::now() + LEAVE_TIME;
    while !is_closed(fd) {
        if Instant::now() >= until {
            return Ok(Taken::All);
        }
        stop.or(sleep(LOOK_PAUSE)).await?;
    }
    Ok(Taken::Closed)
}

/// Wait until a pipe is empty, or its reader has gone.
async fn emptied(fd: BorrowedFd<'_>) -> Taken {
    let mut pause = LOOK_PAUSE;
    loop {
        // In this order: what is in a pipe without a reader stays there.
        let left = ioctl_fionread(fd).unwrap_or(0);
        if is_closed(fd) {
            return Taken::Closed;
        }
        if left == 0 {
            return Taken::All;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Whether nobody reads what is written there any more.
#[must_use]
pub fn is_closed(fd: BorrowedFd<'_>) -> bool {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    loop {
        match poll(&mut polled, Some(&AT_ONCE)) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            // It cannot be asked for: what is written will tell.
            Err(_) => return false,
        }
    }
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let [polled] = polled;
    polled.revents().intersects(gone)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _, Write as _, pipe};
    use std::os::fd::AsFd as _;

    use super::*;

    /// What is said of a pipe that has a line in it, if its reader does this meanwhile.
    async fn after(read: impl FnOnce(PipeReader) -> Option<PipeReader>) -> Taken {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"a line\n").unwrap();
        let (_raise, stop) = Stop::new();
        let taking = taken(writer.as_fd(), &stop);
        tokio::pin!(taking);
        // Nothing was taken yet.
        assert!(futures::poll!(&mut taking).is_pending());
        let _stays = read(reader);
        taking.await.unwrap()
    }

    fn take(reader: &mut PipeReader, bytes: usize) {
        reader.read_exact(&mut vec![0; bytes]).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_reader_took_that_stays_for_the_end_is_taken() {
        let all = |mut reader: PipeReader| {
            take(&mut reader, 7);
            Some(reader)
        };
        assert_eq!(after(all).await, Taken::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_before_the_end_has_not_taken_it() {
        assert_eq!(after(|_| None).await, Taken::Closed);
        for bytes in [1, 7] {
            let leaves = |mut reader: PipeReader| {
                take(&mut reader, bytes);
                None
            };
            assert_eq!(after(leaves).await, Taken::Closed, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_a_moment_after_it_took_all_has_not_taken_it() {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"a line\n").unwrap();
        take(&mut reader, 7);
        tokio::spawn(async move {
            sleep(LEAVE_TIME / 2).await;
            drop(reader);
        });
        let (_raise, stop) = Stop::new();
        assert_eq!(taken(writer.as_fd(), &stop).await, Ok(Taken::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_late_and_a_stop_ends_the_wait() {
        assert_eq!(after(Some).await, Taken::Late);
        let (_reader, mut writer) = pipe().unwrap();
        writer.write_all(b"a line\n").unwrap();
        let (raise, stop) = Stop::new();
        raise.raise();
        assert_eq!(taken(writer.as_fd(), &stop).await, Err(Stopped));
    }

    #[tokio::test]
    async fn what_is_in_a_file_is_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a line\n").unwrap();
        let (_raise, stop) = Stop::new();
        assert_eq!(taken(file.as_fd(), &stop).await, Ok(Taken::All));
        assert!(!is_closed(file.as_fd()));
    }
}
