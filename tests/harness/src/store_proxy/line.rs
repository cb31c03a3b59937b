//! One client's connection, as fast as a line of a given bandwidth.
//!
//! Bytes are written in pieces of a few milliseconds' worth, each when the line would have carried
//! the ones before. A piece that comes late, because the machine had other work, is made up for
//! within [`LAG_MAX`]; a line that had nothing to carry saves nothing up beyond that.

use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// How far a line may be behind and still catch up: some turns of a busy scheduler, too short to be
/// seen as a burst.
const LAG_MAX: Duration = Duration::from_millis(20);
/// Pieces for each second. Timers tick each millisecond, so a piece takes several.
const PIECES_PER_SECOND: u64 = 200;
/// The smallest piece: below this, the cost of writing is that of the call.
const PIECE_BYTES_MIN: u64 = 4 << 10;

/// The client's side of a connection.
pub(super) struct Line {
    stream: TcpStream,
    pace: Option<Pace>,
    state: Arc<State>,
}

/// What the rest of the connection sees and sets.
pub(super) struct State {
    /// Bytes that the system took since the start.
    written: watch::Sender<u64>,
    /// Whether the end is a reset.
    reset: AtomicBool,
}

impl State {
    /// End with a reset.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    pub(super) fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// Wait until the system took this many bytes.
    pub(super) async fn carried(self: Arc<Self>, count: u64) {
        // It fails when the line is gone, and then nobody waits.
        let _ = self
            .written
            .subscribe()
            .wait_for(|written| *written >= count)
            .await;
    }
}

struct Pace {
    bytes_per_second: NonZeroU64,
    /// When the line has carried what was written.
    due: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    /// How many bytes may be written now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let now = Instant::now();
        if self.due > now {
            self.timer.as_mut().reset(self.due);
            ready!(self.timer.as_mut().poll(cx));
        }
        if let Some(earliest) = Instant::now().checked_sub(LAG_MAX) {
            self.due = self.due.max(earliest);
        }
        let piece = (self.bytes_per_second.get() / PIECES_PER_SECOND).max(PIECE_BYTES_MIN);
        Poll::Ready(usize::try_from(piece).unwrap_or(usize::MAX))
    }

    fn wrote(&mut self, count: usize) {
        self.due += Duration::from_secs_f64(count as f64 / self.bytes_per_second.get() as f64);
    }
}

impl Line {
    pub(super) fn new(
        stream: TcpStream,
        bytes_per_second: Option<NonZeroU64>,
    ) -> (Self, Arc<State>) {
        let state = Arc::new(State {
            written: watch::Sender::new(0),
            reset: AtomicBool::new(false),
        });
        let start = |bytes_per_second| Pace {
            bytes_per_second,
            due: Instant::now(),
            timer: Box::pin(sleep_until(Instant::now())),
        };
        (
            Self {
                stream,
                pace: bytes_per_second.map(start),
                state: state.clone(),
            },
            state,
        )
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.pace
            .as_mut()
            .map_or(Poll::Ready(usize::MAX), |pace| pace.poll(cx))
    }

    fn wrote(&mut self, count: usize) {
        if let Some(pace) = &mut self.pace {
            pace.wrote(count);
        }
        self.state
            .written
            .send_modify(|written| *written += count as u64);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = ready!(self.poll_piece(cx));
        let count =
            ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(piece)]))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let piece = ready!(self.poll_piece(cx));
        let mut left = piece;
        let within = slices.iter().map_while(|slice| {
            let taken = slice.len().min(left);
            left -= taken;
            (taken > 0 || slice.is_empty()).then(|| IoSlice::new(&slice[..taken]))
        });
        let within: Vec<IoSlice<'_>> = within.collect();
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &within))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.state.reset.load(Ordering::SeqCst) {
            // Closing is then a reset, and what the system has not sent yet is dropped.
            let _ = self.stream.set_zero_linger();
        }
    }
}
