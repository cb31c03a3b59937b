//! Tells a shortage of this machine (descriptors, memory, disk) from what is wrong with an object.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// Whether an error of the system is a shortage of the machine: it says nothing about what was
/// asked for, and another machine, or this one later, may do it.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || error
            .raw_os_error()
            .is_some_and(|code| is_code_of_shortage(Errno::from_raw_os_error(code)))
}

fn is_code_of_shortage(code: Errno) -> bool {
    matches!(
        code,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC | Errno::AGAIN | Errno::DQUOT
    )
}

/// Whether any of an error's causes is a shortage of the machine.
pub fn has_shortage<'e>(causes: impl IntoIterator<Item = &'e (dyn Error + 'static)>) -> bool {
    causes.into_iter().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(is_shortage)
            || cause
                .downcast_ref::<Errno>()
                .is_some_and(|code| is_code_of_shortage(*code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_system_that_say_too_little_are_shortages() {
        for code in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC] {
            assert!(is_shortage(&io::Error::from(code)), "{code:?}");
        }
        for code in [Errno::NOENT, Errno::ACCESS, Errno::INVAL] {
            assert!(!is_shortage(&io::Error::from(code)), "{code:?}");
        }
    }
}
