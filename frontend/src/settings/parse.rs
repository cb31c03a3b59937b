//! Parses the texts of settings and checks their ranges.
//!
//! Each error says what to write instead; the front end adds the setting's name.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use sortie::TenantId;
use sortie::protocol::size::ParseError;
use sortie::protocol::tenant::InvalidName;
use sortie::{ByteSize, Limits};

use super::host::Cache;

/// Maximum number of concurrent tasks: each takes a slot of address space, and a process has room
/// for about this many.
const CONCURRENCY_MAX: usize = 1000;
/// Maximum duration: a year. Longer is most likely a typo.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// The least memory for inputs: a few blocks for each of a handful of tasks.
const INPUT_MEMORY_MIN: ByteSize = ByteSize(16 << 20);
/// The least room on disk for inputs: less would not have a block in each of the folders that they
/// are spread over.
const INPUT_DISK_MIN: ByteSize = ByteSize(512 << 20);
/// The least memory of a worker: one small task, and what it reads.
const WORKER_MEMORY_MIN: ByteSize = ByteSize(64 << 20);

/// A cache folder, or `off`.
///
/// # Errors
/// When the text is empty.
pub fn cache(text: &str) -> Result<Cache, String> {
    match text {
        "" => Err("name a folder, or write `off`".into()),
        "off" => Ok(Cache::Off),
        folder => Ok(Cache::Folder(folder.into())),
    }
}

/// The place of a store. Whether it is one is checked later, when the folder is known that relative
/// paths start from.
///
/// # Errors
/// When the text is empty.
pub fn store(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("name a folder, or a location such as s3://bucket/results".into())
    } else {
        Ok(text.into())
    }
}

/// The memory of a task.
///
/// # Errors
/// When it is no size, or not one that a function can have.
pub fn memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    if size < Limits::MEMORY_MIN || size > Limits::MEMORY_MAX {
        return Err(format!(
            "a function has between {} and {}",
            Limits::MEMORY_MIN,
            Limits::MEMORY_MAX
        ));
    }
    Ok(size)
}

/// A size.
///
/// # Errors
/// When it is none.
pub fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: ParseError| error.to_string())
}

/// The memory of a worker.
///
/// # Errors
/// When it is no size, or too small for any task.
pub fn worker_memory(text: &str) -> Result<ByteSize, String> {
    let size = size(text)?;
    if size < WORKER_MEMORY_MIN {
        return Err(format!("a worker needs at least {WORKER_MEMORY_MIN}"));
    }
    Ok(size)
}

/// How many attempts a task may have.
///
/// # Errors
/// When it is no number above zero.
pub fn attempts(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "write a number, at least 1".to_owned())
}

/// A time such as `1m 30s`.
///
/// # Errors
/// When it is not a duration, is zero, or is longer than a year.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text.trim())
        .map_err(|_| "write a number and a unit, such as 500ms, 30s or 5min".to_owned())?;
    if duration.is_zero() || duration > DURATION_MAX {
        return Err("write a duration of more than zero and at most a year".into());
    }
    Ok(duration)
}

/// How many tasks run at once.
///
/// # Errors
/// When it is not a number in the range.
pub fn concurrency(text: &str) -> Result<NonZeroUsize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroUsize| number.get() <= CONCURRENCY_MAX);
    number.ok_or_else(|| format!("write a number from 1 to {CONCURRENCY_MAX}"))
}

/// `NAME=VALUE`.
///
/// # Errors
/// When the text has no name or no equals sign.
pub fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// The memory for inputs.
///
/// # Errors
/// When it is no size, or too small.
pub fn input_memory(text: &str) -> Result<ByteSize, String> {
    at_least(INPUT_MEMORY_MIN, text)
}

/// The room on disk for inputs.
///
/// # Errors
/// When it is no size, or too small.
pub fn input_disk(text: &str) -> Result<ByteSize, String> {
    at_least(INPUT_DISK_MIN, text)
}

fn at_least(min: ByteSize, text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    if size < min {
        Err(format!("inputs need at least {min}"))
    } else {
        Ok(size)
    }
}

/// A tenant.
///
/// # Errors
/// When it is not a valid name.
pub fn tenant(text: &str) -> Result<TenantId, String> {
    text.parse().map_err(|error: InvalidName| error.to_string())
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
