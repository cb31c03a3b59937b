//! A library for `LD_PRELOAD` that moves a process's time of day by an offset.
//!
//! It answers `clock_gettime`, `gettimeofday` and `time` in place of the C library. The offset is
//! in the file that the variable `SORTIE_SKEWED_CLOCK` names: nanoseconds, as eight bytes in the
//! machine's order. The file is mapped once, so another process steps the clock by writing the
//! file, and no descriptor stays open. All other clocks are the system's. Without the variable or
//! the file nothing is moved.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use libc::{c_int, clockid_t, time_t, timespec, timeval};

const VARIABLE: &CStr = c"SORTIE_SKEWED_CLOCK";
const NANOS: i64 = 1_000_000_000;

type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// The C library's `clock_gettime`; null before the first call.
static SYSTEM: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The mapped offset; null before the first call.
static OFFSET: AtomicPtr<AtomicI64> = AtomicPtr::new(ptr::null_mut());
/// The offset of a process that was given no file.
static ZERO: AtomicI64 = AtomicI64::new(0);

/// As in the C library, with the time of day moved.
///
/// # Safety
/// As in the C library: `time` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise is that of the function that is called.
    let answer = unsafe { system()(clock, time) };
    if answer == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the call above wrote there.
        move_by(unsafe { &mut *time }, offset());
    }
    answer
}

/// As in the C library, with the time of day moved; the time zone stays as it is.
///
/// # Safety
/// As in the C library: `time` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let now = now();
    if !time.is_null() {
        let micros = timeval {
            tv_sec: now.tv_sec,
            tv_usec: now.tv_nsec / 1000,
        };
        // SAFETY: it is not null, and the caller promises the rest.
        unsafe { time.write(micros) };
    }
    0
}

/// As in the C library, with the time of day moved.
///
/// # Safety
/// As in the C library: `time` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let now = now().tv_sec;
    if !time.is_null() {
        // SAFETY: it is not null, and the caller promises the rest.
        unsafe { time.write(now) };
    }
    now
}

fn now() -> timespec {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place for the answer is ours.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}

fn move_by(time: &mut timespec, nanos: i64) {
    let moved = time.tv_nsec + nanos.rem_euclid(NANOS);
    time.tv_sec += nanos.div_euclid(NANOS) + moved / NANOS;
    time.tv_nsec = moved % NANOS;
}

fn system() -> ClockGettime {
    let mut found = SYSTEM.load(Ordering::Acquire);
    if found.is_null() {
        // SAFETY: the name ends with a zero byte.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        if found.is_null() {
            // SAFETY: it has no conditions. There is no C library without this function.
            unsafe { libc::abort() };
        }
        SYSTEM.store(found, Ordering::Release);
    }
    // SAFETY: the symbol is that function in every C library.
    unsafe { std::mem::transmute::<*mut c_void, ClockGettime>(found) }
}

fn offset() -> i64 {
    let mut offset = OFFSET.load(Ordering::Acquire);
    if offset.is_null() {
        offset = map().unwrap_or((&raw const ZERO).cast_mut());
        OFFSET.store(offset, Ordering::Release);
    }
    // SAFETY: it is a static, or a mapping that is never taken away.
    unsafe { &*offset }.load(Ordering::Relaxed)
}

/// Map the file that the environment names. Two threads may both do so at the start, and one
/// mapping is then not used.
fn map() -> Option<*mut AtomicI64> {
    // SAFETY: plain calls of the C library on values that they gave, each of which is checked.
    unsafe {
        let path = libc::getenv(VARIABLE.as_ptr());
        if path.is_null() {
            return None;
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let mapped = libc::mmap(
            ptr::null_mut(),
            size_of::<AtomicI64>(),
            libc::PROT_READ,
            libc::MAP_SHARED,
            file,
            0,
        );
        libc::close(file);
        (mapped != libc::MAP_FAILED).then(|| mapped.cast())
    }
}
