//! Which requests go wrong, and how.

use hyper::{Method, Uri};

/// What a request asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read an object, or a range of it.
    Get,
    /// Ask about an object.
    Head,
    /// Write an object, or a part of one.
    Put,
    /// List a bucket.
    List,
    /// Anything, these included.
    Any,
}

impl Operation {
    /// What a request asks, and of which object: `bucket/key`, as it stands in the request's path.
    pub(super) fn of(method: &Method, uri: &Uri) -> (Self, String) {
        let key = uri.path().trim_matches('/').to_owned();
        let operation = match *method {
            Method::GET if key.contains('/') => Self::Get,
            Method::GET => Self::List,
            Method::HEAD => Self::Head,
            Method::PUT => Self::Put,
            _ => Self::Any,
        };
        (operation, key)
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 503 `SlowDown`: the store wants fewer requests.
    SlowDown,
    /// 500 `InternalError`.
    InternalError,
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 400 `ExpiredToken`, as S3 answers temporary keys that are too old; the token is repeated.
    ExpiredToken,
    /// 403 `InvalidAccessKeyId`; the id is repeated.
    InvalidAccessKeyId,
    /// 403 `SignatureDoesNotMatch`; the id, the signature and what should have been signed are
    /// repeated.
    SignatureDoesNotMatch,
    /// 403 `RequestTimeTooSkewed`: the requester's clock is wrong.
    ClockSkew,
    /// 403 `QuotaExceeded`, as Ceph answers.
    QuotaExceeded,
    /// 404 `NoSuchKey`.
    NoSuchKey,
    /// 404 `NoSuchBucket`.
    NoSuchBucket,
    /// 301 `PermanentRedirect` with this as the bucket's region, and without a location.
    WrongRegion(&'static str),
    /// 307 `TemporaryRedirect` to this location.
    Redirect(String),
    /// The answer's etag is another one. The body is the object's.
    WrongEtag,
    /// The connection is reset when half of the body was sent.
    Reset,
    /// The connection is closed when half of the body was sent.
    Truncate,
    /// When half of the body was sent, nothing comes any more, and the connection stays.
    Stall,
    /// Nothing comes at all, and the connection stays.
    Silence,
    /// The request waits at the proxy until [`release`](super::StoreProxy::release), and is passed
    /// on then.
    Hold,
}

impl Fault {
    /// A rule by which this befalls each such request whose `bucket/key` contains this text.
    pub fn on(self, operation: Operation, key: &str) -> Rule {
        Rule {
            fault: self,
            operation,
            key: key.to_owned(),
            which: Which::Always,
            seen: 0,
        }
    }
}

/// Which requests a fault befalls. A request is compared with all rules, in the order in which they
/// were added, and the first counts.
#[derive(Debug)]
pub struct Rule {
    fault: Fault,
    operation: Operation,
    key: String,
    which: Which,
    /// How many requests it was compared with that it is about.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Always,
    First(u64),
    Nth(u64),
}

impl Rule {
    /// Only the first `count` of them.
    #[must_use]
    pub fn first(self, count: u64) -> Self {
        Self {
            which: Which::First(count),
            ..self
        }
    }

    /// Only this one of them, counted from 1.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        Self {
            which: Which::Nth(number),
            ..self
        }
    }

    /// Count the request if it is one of those, and say what befalls it.
    pub(super) fn strike(&mut self, operation: Operation, key: &str) -> Option<Fault> {
        if !(self.operation == Operation::Any || self.operation == operation)
            || !key.contains(&self.key)
        {
            return None;
        }
        self.seen += 1;
        let struck = match self.which {
            Which::Always => true,
            Which::First(count) => self.seen <= count,
            Which::Nth(number) => self.seen == number,
        };
        struck.then(|| self.fault.clone())
    }
}
