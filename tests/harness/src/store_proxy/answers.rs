//! What S3 answers when something is wrong: status, headers, and a body in XML that says more than
//! a log should.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use hyper::http::request;
use hyper::http::response;
use hyper::{Method, Response, StatusCode};

use super::rules::Fault;

/// An etag of no object.
const OTHER_ETAG: &str = "\"00000000000000000000000000000000\"";

/// The whole answer that a fault stands for, if it stands for one.
pub(super) fn whole(fault: &Fault, asked: &request::Parts) -> Option<Response<Bytes>> {
    let (status, code, message) = error(fault)?;
    let details = details(fault, asked);
    // On one line, as some stores write it: a log that shows one line of it shows all of it.
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <Error><Code>{code}</Code><Message>{message}</Message>{details}\
         <Resource>{}</Resource><RequestId>4442587FB7D0A2F9</RequestId></Error>",
        asked.uri.path()
    );
    // An answer to HEAD has no body, so nothing says why.
    let body = if asked.method == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status of HTTP");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    match fault {
        Fault::WrongRegion(region) => {
            drop(headers.insert("x-amz-bucket-region", HeaderValue::from_static(region)))
        }
        Fault::Redirect(to) => drop(headers.insert(
            LOCATION,
            HeaderValue::from_str(to).expect("a location that fits in a header"),
        )),
        _ => {}
    }
    Some(answer)
}

/// The status, the code and the message of S3's error for a fault; none for faults that are no
/// answers of their own.
fn error(fault: &Fault) -> Option<(u16, &'static str, &'static str)> {
    let error = match fault {
        Fault::SlowDown => (503, "SlowDown", "Please reduce your request rate."),
        Fault::InternalError => (
            500,
            "InternalError",
            "We encountered an internal error. Please try again.",
        ),
        Fault::AccessDenied => (403, "AccessDenied", "Access Denied"),
        Fault::ExpiredToken => (400, "ExpiredToken", "The provided token has expired."),
        Fault::InvalidAccessKeyId => (
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        Fault::SignatureDoesNotMatch => (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
        Fault::ClockSkew => (
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
        Fault::QuotaExceeded => (403, "QuotaExceeded", ""),
        Fault::NoSuchKey => (404, "NoSuchKey", "The specified key does not exist."),
        Fault::NoSuchBucket => (404, "NoSuchBucket", "The specified bucket does not exist"),
        Fault::WrongRegion(_) => (
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified \
             endpoint.",
        ),
        Fault::Redirect(_) => (
            307,
            "TemporaryRedirect",
            "Please re-send this request to the specified temporary endpoint.",
        ),
        Fault::WrongEtag
        | Fault::Reset
        | Fault::Truncate
        | Fault::Stall
        | Fault::Silence
        | Fault::Hold => return None,
    };
    Some(error)
}

/// The elements that S3 adds to an error. Some repeat credentials of the request, which must not
/// reach a log.
fn details(fault: &Fault, asked: &request::Parts) -> String {
    let key = format!(
        "<AWSAccessKeyId>{}</AWSAccessKeyId>",
        part(asked, "Credential=")
    );
    match fault {
        Fault::ExpiredToken => {
            let token = asked.headers.get("x-amz-security-token");
            let token = token.and_then(|token| token.to_str().ok());
            format!("<Token-0>{}</Token-0>", token.unwrap_or_default())
        }
        Fault::InvalidAccessKeyId => key,
        Fault::SignatureDoesNotMatch => format!(
            "{key}<SignatureProvided>{}</SignatureProvided>",
            part(asked, "Signature=")
        ),
        Fault::WrongRegion(region) => {
            format!("<Endpoint>s3.{region}.amazonaws.com</Endpoint>")
        }
        Fault::Redirect(to) => format!("<Endpoint>{to}</Endpoint>"),
        _ => String::new(),
    }
}

/// What a fault changes in the head of the store's own answer.
pub(super) fn change(fault: Option<&Fault>, head: &mut response::Parts) {
    if fault == Some(&Fault::WrongEtag) && head.headers.contains_key(ETAG) {
        head.headers
            .insert(ETAG, HeaderValue::from_static(OTHER_ETAG));
    }
}

/// A part of the request's authorization: the access key id, or the signature.
fn part<'a>(asked: &'a request::Parts, name: &str) -> &'a str {
    let text = asked
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    rest.split([',', '/', ' ']).next().unwrap_or_default()
}
