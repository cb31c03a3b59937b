//! The deadline of every wait in the tests: a guard against hanging, not a measurement.
//!
//! A test waits for a condition. The guard ends the wait when the condition never becomes true, so
//! that the failure can be reported. It is far longer than any wait takes on a busy machine, and
//! `SORTIE_TEST_PATIENCE` multiplies it for machines that are slower still. How much of it a wait
//! used means nothing.

use std::env;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{interval, timeout};

/// The longest wait on an ordinary machine, even beside several builds: the slowest single step,
/// reading more than four gigabytes through a guest, takes half a minute there when nothing else
/// runs.
const BASE: Duration = Duration::from_secs(360);

/// The environment variable that multiplies [`patience`], such as `2.5`.
const VARIABLE: &str = "SORTIE_TEST_PATIENCE";

/// The largest factor. `.config/nextest.toml` stops a test after half an hour, and a guard must act
/// before that in order to say what did not happen.
const FACTOR_MAX: f64 = 4.0;

/// How long a test waits for a condition before it fails.
///
/// # Panics
/// When `SORTIE_TEST_PATIENCE` is not a number from 1 to 4.
pub fn patience() -> Duration {
    static PATIENCE: LazyLock<Duration> = LazyLock::new(|| {
        let factor = env::var(VARIABLE).ok();
        BASE.mul_f64(factor.map_or(1.0, |text| factor_of(&text)))
    });
    *PATIENCE
}

/// Waits for a future. `what` completes "... did not happen" in the message of the panic.
///
/// # Panics
/// When it takes longer than [`patience`].
pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let patience = patience();
    timeout(patience, happens)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {patience:?}"))
}

/// Waits until something holds, looking every few milliseconds. `what` completes "... did not
/// happen" in the message of the panic.
///
/// # Panics
/// When it does not hold within [`patience`].
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    within(what, async {
        while !holds() {
            ticks.tick().await;
        }
    })
    .await;
}

/// As [`until`], where finding out takes waiting, too.
///
/// # Panics
/// When it does not hold in time.
pub async fn until_asked(what: &str, holds: impl AsyncFn() -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    within(what, async {
        while !holds().await {
            ticks.tick().await;
        }
    })
    .await;
}

fn factor_of(text: &str) -> f64 {
    let factor = text.parse().ok();
    factor
        .filter(|factor| (1.0..=FACTOR_MAX).contains(factor))
        .unwrap_or_else(|| panic!("`{VARIABLE}` is `{text}`: give a number from 1 to {FACTOR_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_only_ever_longer_than_usual() {
        assert_eq!(factor_of("2.5").to_string(), "2.5");
        for text in ["0.5", "5", "NaN", "-1", "much"] {
            assert!(
                std::panic::catch_unwind(|| factor_of(text)).is_err(),
                "{text}"
            );
        }
        assert!(patience() >= BASE);
    }
}
