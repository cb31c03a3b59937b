//! Parsers of option values: what people write, checked against what can be granted.
//!
//! Each text says what to write instead; clap puts the option's name in front.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use sortie::{ByteSize, Limits};

/// The most tasks in work at once: each may take a slot of address space, of which a process has
/// about this many.
const CONCURRENCY_MAX: usize = 1000;
/// The longest time that can be set: a year. Longer is a slip of the finger.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where compiled components and results are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Nowhere.
    Off,
    /// In this folder.
    Folder(PathBuf),
}

pub(crate) fn cache(text: &str) -> Result<Cache, String> {
    match text {
        "" => Err("name a folder, or write `off`".into()),
        "off" => Ok(Cache::Off),
        folder => Ok(Cache::Folder(folder.into())),
    }
}

/// The place of a store. What it is, is looked at when the folder is known that relative paths
/// start from.
pub(crate) fn store(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("name a folder, or a place such as s3://bucket/results".into())
    } else {
        Ok(text.into())
    }
}

pub(crate) fn memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|error: sortie::protocol::size::ParseError| error.to_string())?;
    if size < Limits::MEMORY_MIN || size > Limits::MEMORY_MAX {
        return Err(format!(
            "a function has between {} and {}",
            Limits::MEMORY_MIN,
            Limits::MEMORY_MAX
        ));
    }
    Ok(size)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text.trim())
        .map_err(|_| "write a number and a unit, such as 500ms, 30s or 5min".to_owned())?;
    if duration.is_zero() || duration > DURATION_MAX {
        return Err("write more than nothing and at most a year".into());
    }
    Ok(duration)
}

pub(crate) fn concurrency(text: &str) -> Result<NonZeroUsize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroUsize| number.get() <= CONCURRENCY_MAX);
    number.ok_or_else(|| format!("write a number from 1 to {CONCURRENCY_MAX}"))
}

/// `NAME=VALUE`.
pub(crate) fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_where_they_are_written() {
        assert_eq!(memory("64MiB"), Ok(ByteSize::mib(64)));
        assert!(memory("8GiB").unwrap_err().contains("4 GiB"));
        assert!(memory("1").unwrap_err().contains("64 KiB"));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("30").unwrap_err().contains("30s"));
        assert!(duration("0s").is_err() && duration("900years").is_err());
        assert!(
            concurrency("0").is_err() && concurrency("1001").is_err() && concurrency("-1").is_err()
        );
        assert_eq!(named("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(named("=x").is_err() && named("x").is_err());
    }
}
