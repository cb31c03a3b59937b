//! `log` records on their way to the task's log.
//!
//! The logger is installed by the component before a call, not at start-up, and holds nothing. What
//! is above [`LOG_LEVEL_MAX`] is not even formatted. Structured key-values are not carried.
//! Natively nothing is installed: tests choose their own logger.

/// The most detailed level that is kept, unless the function calls `log::set_max_level` itself.
///
/// Info, because a record costs its formatting and a call into the host, and libraries debug and
/// trace inside their loops.
pub const LOG_LEVEL_MAX: log::LevelFilter = log::LevelFilter::Info;

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::install;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::bindings::sortie::task::log as contract;

    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let level = match record.level() {
                log::Level::Error => contract::Level::Error,
                log::Level::Warn => contract::Level::Warn,
                log::Level::Info => contract::Level::Info,
                log::Level::Debug => contract::Level::Debug,
                log::Level::Trace => contract::Level::Trace,
            };
            match record.args().as_str() {
                Some(message) => contract::emit(level, record.target(), message),
                None => contract::emit(level, record.target(), &record.args().to_string()),
            }
        }

        fn flush(&self) {}
    }

    /// Send records to the task's log from here on. A logger that the function has installed before
    /// stays.
    pub(crate) fn install() {
        if log::set_logger(&Logger).is_ok() {
            log::set_max_level(super::LOG_LEVEL_MAX);
        }
    }
}
