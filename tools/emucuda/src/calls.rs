//! How often each function of the driver is called, for `EMUCUDA_CALLS`.

use crate::{
    settings::settings,
    status::{Done, NOT_READY},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Mutex, Once, PoisonError},
};

static CALLS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Counts a call that came to this, if anybody asks for it; not of one that finds something under way, which is asked
/// again.
pub(crate) fn count(name: &'static str, done: Done) {
    static AT_EXIT: Once = Once::new();
    if settings().calls.is_none() || done == Err(NOT_READY) {
        return;
    }
    AT_EXIT.call_once(|| {
        // SAFETY: `write` is a function without parameters that does not unwind, and stays: a program
        // keeps the driver until it ends.
        unsafe { libc::atexit(write) };
    });
    *CALLS.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}

/// A line for each function: its name, and how often it was called.
extern "C" fn write() {
    let mut lines = String::new();
    for (name, calls) in CALLS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = writeln!(lines, "{name} {calls}"); // a string takes all
    }
    if let Some(path) = &settings().calls
        && fs::write(path, lines).is_err()
    {
        crate::status::tell(&format!("cannot write {path}"));
    }
}
