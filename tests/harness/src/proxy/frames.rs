//! What a NATS client sends, as frames: lines, and messages with a payload of announced length.
//!
//! A chunk can end anywhere, also in the middle of a line. The start of a line is held back until
//! its end is there, because only then it is known whether the message is to be lost. Payloads are
//! never held.

use std::io::{Error, Result};

/// Lines are short, but the first one, with a token, may have some kilobytes. A longer one ends the
/// connection.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Where in the stream one connection is.
#[derive(Debug)]
pub(super) struct Frames {
    /// The start of a line whose end is not there yet.
    line: Vec<u8>,
    /// What is left of the payload that comes now, with the end of line after it.
    payload: usize,
    /// Whether that payload is lost.
    lost: bool,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            line: Vec::new(),
            payload: 0,
            lost: false,
        }
    }

    /// What of this chunk is to be passed on now. `loses` is asked once for each message, with its
    /// subject.
    pub(super) fn pass(
        &mut self,
        mut chunk: &[u8],
        mut loses: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.line.len() + chunk.len());
        while !chunk.is_empty() {
            if self.payload > 0 {
                let (now, rest) = chunk.split_at(self.payload.min(chunk.len()));
                if !self.lost {
                    out.extend_from_slice(now);
                }
                self.payload -= now.len();
                chunk = rest;
                continue;
            }
            let end = chunk
                .iter()
                .position(|byte| *byte == b'\n')
                .map(|end| end + 1);
            let (now, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.line.extend_from_slice(now);
            chunk = rest;
            if self.line.len() > LINE_BYTES_MAX {
                return Err(Error::other("a line that no client of NATS sends"));
            }
            if end.is_some() {
                self.line(&mut out, &mut loses)?;
            }
        }
        Ok(out)
    }

    /// Judges the line that is now complete.
    fn line(&mut self, out: &mut Vec<u8>, loses: &mut impl FnMut(&[u8]) -> bool) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        let published = published(&line)?;
        self.lost = published.is_some_and(|(subject, _)| loses(subject));
        // The payload and its end of line.
        self.payload = published.map_or(0, |(_, length)| length + 2);
        if !self.lost {
            out.extend_from_slice(&line);
        }
        Ok(())
    }
}

/// Subject and length of the message that this line announces: `PUB SUBJECT [REPLY] BYTES`, or
/// `HPUB` with both lengths at the end.
fn published(line: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    if !verb.eq_ignore_ascii_case(b"PUB") && !verb.eq_ignore_ascii_case(b"HPUB") {
        return Ok(None);
    }
    let (subject, length) = (words.next(), words.next_back());
    let length = length
        .and_then(|length| std::str::from_utf8(length).ok()?.parse::<u32>().ok())
        .and_then(|length| length.try_into().ok());
    subject
        .zip(length)
        .map(Some)
        .ok_or_else(|| Error::other("a message without a subject or a length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"CONNECT {\"verbose\":false}\r\nPUB lost.a 5\r\nPUB x\r\nSUB lost.a \
                            1\r\npub kept _INBOX.1 2\r\nhi\r\n\
        HPUB lost.b _INBOX.2 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB lost.c 0\r\n\r\nPING\r\n";
    const KEPT: &[u8] =
        b"CONNECT {\"verbose\":false}\r\nSUB lost.a 1\r\npub kept _INBOX.1 2\r\nhi\r\nPING\r\n";

    fn passed(chunks: impl Iterator<Item = &'static [u8]>) -> (Vec<u8>, Vec<String>) {
        let (mut frames, mut out, mut lost) = (Frames::new(), Vec::new(), Vec::new());
        for chunk in chunks {
            let part = frames.pass(chunk, |subject| {
                let loses = subject.starts_with(b"lost.");
                lost.extend(loses.then(|| String::from_utf8_lossy(subject).into_owned()));
                loses
            });
            out.extend(part.unwrap());
        }
        (out, lost)
    }

    #[test]
    fn messages_are_lost_wherever_the_stream_is_split() {
        for size in 1..=STREAM.len() {
            let (out, lost) = passed(STREAM.chunks(size));
            assert_eq!(
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(KEPT),
                "in chunks of {size}"
            );
            assert_eq!(lost, ["lost.a", "lost.b", "lost.c"], "in chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut frames = Frames::new();
        let mut pass = |length| {
            frames
                .pass(&vec![b'x'; length], |_| false)
                .map(|out| out.len())
        };
        assert_eq!(pass(LINE_BYTES_MAX).unwrap(), 0);
        assert!(pass(1).is_err());
    }

    #[test]
    fn a_message_without_a_length_is_refused() {
        assert!(Frames::new().pass(b"PUB a\r\n", |_| false).is_err());
        assert!(Frames::new().pass(b"PUB a many\r\n", |_| false).is_err());
    }
}
