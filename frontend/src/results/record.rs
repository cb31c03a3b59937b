//! Writes an outcome as a JSON line, and takes it apart for a row of a table.
//!
//! Everything that functions and servers wrote (values, codes, messages, logs) is inside JSON
//! strings and escaped there.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sortie::protocol::outcome::PlatformFault;
use sortie::protocol::{Advice, Output, OutputObject, StoredRef};
use sortie::{Bill, Blame, Ending, Failure, Log, Outcome};

use super::entry::Entry;
use crate::json::{self, Layout, Parts};
use crate::log;

/// The code of a result that is not CBOR. The contract asks for CBOR, so the function is to blame.
const BAD_RESULT: &str = "bad-result";

/// How a task ended, as its line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status<'a> {
    /// With a value or an object.
    Completed,
    /// Without one.
    Failed(Reason<'a>),
    /// Its job was cancelled.
    Cancelled,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason<'a> {
    /// A short name of the failure.
    pub code: Cow<'a, str>,
    /// What happened.
    pub message: String,
    /// Whose fault it is.
    #[serde(serialize_with = "blame")]
    pub blame: Blame,
    /// How often the task was tried.
    pub attempts: u32,
    /// The calls that the function was in, from the innermost, where they are known.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub backtrace: &'a [String],
    /// The function that failed, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Cow<'a, str>>,
    /// What could be done, if that is known. Each front door words it, so results do not have it.
    #[serde(skip)]
    pub advice: Option<Advice>,
}

fn blame<S: serde::Serializer>(blame: &Blame, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(blame.as_str())
}

impl Status<'_> {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl<'a> Status<'a> {
    /// The same; a failure is that of `function`, if it is said.
    fn within(self, function: Option<&'a str>) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(Reason {
                function: function.map(Into::into).or(reason.function),
                ..reason
            }),
            Self::Completed | Self::Cancelled => self,
        }
    }
}

/// How an outcome ended, and its value in parts.
pub(crate) fn take_apart(entry: &Entry) -> (Status<'_>, Option<Parts>) {
    let (status, parts) = parts(&entry.outcome);
    (status.within(entry.function.as_deref()), parts)
}

fn parts(outcome: &Outcome) -> (Status<'_>, Option<Parts>) {
    match &outcome.ending {
        Ending::Completed(Output::Value(cbor)) => completed(outcome, cbor),
        Ending::Completed(Output::Object(object)) => {
            let mut cbor = Vec::new();
            match ciborium::into_writer(&ShownObject::from(object), &mut cbor) {
                Ok(()) => completed(outcome, &cbor),
                Err(error) => (
                    Status::Failed(bad_result(outcome, &error.to_string())),
                    None,
                ),
            }
        }
        Ending::Completed(Output::Stored(_) | Output::AtBroker(_)) => {
            (Status::Failed(unfetched(outcome)), None)
        }
        Ending::Failed(failure) => (Status::Failed(failed(outcome, failure)), None),
        Ending::Cancelled => (Status::Cancelled, None),
    }
}

fn completed<'a>(outcome: &Outcome, cbor: &[u8]) -> (Status<'a>, Option<Parts>) {
    match Parts::of(cbor) {
        Ok(parts) => (Status::Completed, Some(parts)),
        Err(what) => (Status::Failed(bad_result(outcome, &what)), None),
    }
}

/// Append the line of an outcome, whose input was `shown`.
pub(crate) fn write<'a>(entry: &'a Entry, shown: &Value, out: &mut Vec<u8>) -> Status<'a> {
    let outcome = &entry.outcome;
    let start = out.len();
    head(outcome, shown, out);
    let status = ending(outcome, out).within(entry.function.as_deref());
    if let Status::Failed(reason) = &status {
        out.truncate(start);
        head(outcome, shown, out);
        out.extend_from_slice(b"\"failed\",\"error\":");
        append(reason, out);
    }
    out.extend_from_slice(b",\"bill\":");
    append(&ShownBill::from(&outcome.bill), out);
    if let Some(log) = &outcome.log {
        out.extend_from_slice(b",\"log\":");
        append(&ShownLog::from(&**log), out);
    }
    out.extend_from_slice(b"}\n");
    status
}

fn head(outcome: &Outcome, shown: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"index\":");
    append(&outcome.index, out);
    out.extend_from_slice(b",\"input\":");
    append(shown, out);
    out.extend_from_slice(b",\"status\":");
}

/// The status with what belongs to it, except where it turns out to be a failure.
fn ending<'a>(outcome: &'a Outcome, out: &mut Vec<u8>) -> Status<'a> {
    match &outcome.ending {
        Ending::Completed(Output::Value(cbor)) => {
            out.extend_from_slice(b"\"completed\",\"value\":");
            match json::write(cbor, Layout::Line, out) {
                Ok(()) => Status::Completed,
                Err(what) => Status::Failed(bad_result(outcome, &what)),
            }
        }
        Ending::Completed(Output::Object(object)) => {
            out.extend_from_slice(b"\"completed\",\"object\":");
            append(&ShownObject::from(object), out);
            Status::Completed
        }
        Ending::Completed(Output::Stored(_) | Output::AtBroker(_)) => {
            Status::Failed(unfetched(outcome))
        }
        Ending::Failed(failure) => Status::Failed(failed(outcome, failure)),
        Ending::Cancelled => {
            out.extend_from_slice(b"\"cancelled\"");
            Status::Cancelled
        }
    }
}

fn failed<'a>(outcome: &Outcome, failure: &'a Failure) -> Reason<'a> {
    Reason {
        code: failure.code().into(),
        message: failure.to_string(),
        blame: failure.blame(),
        attempts: outcome.attempts,
        backtrace: failure.backtrace().frames(),
        function: None,
        advice: failure.advice(),
    }
}

/// Why a task whose result is not a CBOR item has failed.
#[must_use]
pub fn bad_result(outcome: &Outcome, what: &str) -> Reason<'static> {
    let message = format!("the function's result is not a CBOR item: {what}");
    Reason {
        code: BAD_RESULT.into(),
        message,
        blame: Blame::Guest,
        attempts: outcome.attempts,
        backtrace: &[],
        function: None,
        advice: None,
    }
}

/// The reason for a value that is still elsewhere: results are fetched before they are written,
/// unless the run ends first.
fn unfetched(outcome: &Outcome) -> Reason<'static> {
    let fault = PlatformFault::StoreUnavailable;
    let place = match &outcome.ending {
        Ending::Completed(Output::Stored(StoredRef { location, .. })) => format!("`{location}`"),
        _ => "the broker".into(),
    };
    let failure = Failure::Platform {
        fault,
        message: format!("the run ended before the result was fetched; it is at {place}"),
    };
    Reason {
        code: failure.code().to_owned().into(),
        message: failure.to_string(),
        blame: failure.blame(),
        attempts: outcome.attempts,
        backtrace: &[],
        function: None,
        advice: failure.advice(),
    }
}

fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing these types into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// An object that a function made, as results show it.
#[derive(Serialize)]
pub struct ShownObject<'a> {
    url: String,
    size: u64,
    content_type: Option<&'a str>,
}

impl<'a> From<&'a OutputObject> for ShownObject<'a> {
    fn from(object: &'a OutputObject) -> Self {
        Self {
            url: object.stored.location.to_url(),
            size: object.stored.size,
            content_type: object.content_type.as_deref(),
        }
    }
}

/// What a task took, in the units that results have.
#[derive(Serialize)]
pub(crate) struct ShownBill {
    pub(crate) queue_ms: f64,
    pub(crate) fetch_ms: f64,
    pub(crate) run_ms: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) memory_peak_bytes: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) cached: bool,
    pub(crate) store_ms: f64,
}

impl From<&Bill> for ShownBill {
    fn from(bill: &Bill) -> Self {
        Self {
            queue_ms: millis(bill.queue),
            fetch_ms: millis(bill.fetch),
            run_ms: millis(bill.run),
            cpu_ms: millis(bill.cpu),
            memory_peak_bytes: bill.memory_peak.as_u64(),
            bytes_in: bill.bytes_in.as_u64(),
            bytes_out: bill.bytes_out.as_u64(),
            cached: bill.cached,
            store_ms: millis(bill.store),
        }
    }
}

/// To the microsecond.
fn millis(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}

#[derive(Serialize)]
struct ShownLog<'a> {
    text: Cow<'a, str>,
    dropped_bytes: u64,
}

impl<'a> From<&'a Log> for ShownLog<'a> {
    fn from(log: &'a Log) -> Self {
        Self {
            text: log::shown(&log.text),
            dropped_bytes: log.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use sortie::{Backtrace, ByteSize};

    use super::*;

    fn outcome(ending: Ending) -> Outcome {
        let bill = Bill {
            queue: Duration::from_nanos(1_234_567),
            run: Duration::from_millis(20),
            memory_peak: ByteSize::kib(64),
            bytes_out: ByteSize(1),
            ..Bill::default()
        };
        Outcome {
            index: 3,
            attempts: 2,
            ending,
            bill,
            log: None,
            input: None,
            function: None,
        }
    }

    fn line(outcome: &Outcome) -> String {
        let mut out = b"before\n".to_vec();
        write(&outcome.clone().into(), &"a\n.pdf".into(), &mut out);
        String::from_utf8(out)
            .unwrap()
            .strip_prefix("before\n")
            .unwrap()
            .to_owned()
    }

    const BILL: &str = concat!(
        r#""bill":{"queue_ms":1.234,"fetch_ms":0.0,"run_ms":20.0,"cpu_ms":0.0,"#,
        r#""memory_peak_bytes":65536,"bytes_in":0,"bytes_out":1,"cached":false,"store_ms":0.0}"#,
    );

    #[test]
    fn a_line_has_exactly_what_is_documented() {
        let mut completed = outcome(Ending::Completed(vec![0xf5].into()));
        let head = r#"{"index":3,"input":"a\n.pdf","status":"#;
        assert_eq!(
            line(&completed),
            format!("{head}\"completed\",\"value\":true,{BILL}}}\n")
        );
        let stored = sortie::protocol::StoredRef {
            digest: sortie::protocol::Digest::of(b""),
            size: 7,
            location: "s3://b/k".parse().unwrap(),
        };
        let object = outcome(Ending::Completed(Output::Object(OutputObject {
            stored,
            content_type: Some("image/png".into()),
        })));
        let shown = r#""object":{"url":"s3://b/k","size":7,"content_type":"image/png"}"#;
        assert_eq!(
            line(&object),
            format!("{head}\"completed\",{shown},{BILL}}}\n")
        );
        completed.log = Some(Box::new(Log {
            text: "\u{1b}[2J".into(),
            dropped: 7,
        }));
        let log = r#""log":{"text":"\u001b[2J","dropped_bytes":7}"#;
        assert_eq!(
            line(&completed),
            format!("{head}\"completed\",\"value\":true,{BILL},{log}}}\n")
        );
        let failed = outcome(Ending::Failed(Failure::trapped("un\nreachable")));
        let error =
            r#""error":{"code":"trapped","message":"un\nreachable","blame":"guest","attempts":2}"#;
        assert_eq!(
            line(&failed),
            format!("{head}\"failed\",{error},{BILL}}}\n")
        );
        let place = Backtrace::of(["inner".into(), "outer".into()]);
        let placed = Failure::trapped("unreachable").at(place);
        let shown = line(&outcome(Ending::Failed(placed)));
        let calls = r#""attempts":2,"backtrace":["inner","outer"]},"#;
        assert!(shown.contains(calls), "{shown}");
        let among_others = Entry {
            outcome: failed,
            function: Some("f".into()),
        };
        let mut out = Vec::new();
        write(&among_others, &Value::Null, &mut out);
        let shown = String::from_utf8(out).unwrap();
        assert!(
            shown.contains(r#""blame":"guest","attempts":2,"function":"f"},"#),
            "{shown}"
        );
        assert_eq!(
            line(&outcome(Ending::Cancelled)),
            format!("{head}\"cancelled\",{BILL}}}\n")
        );
    }

    #[test]
    fn a_result_that_is_not_cbor_is_the_functions_failure() {
        let outcome = outcome(Ending::Completed(vec![0x82, 1].into()));
        let parsed: Value = serde_json::from_str(&line(&outcome)).unwrap();
        assert_eq!(
            (&parsed["status"], &parsed["error"]["code"]),
            (&"failed".into(), &"bad-result".into())
        );
        assert!(parsed.get("value").is_none());
    }
}
