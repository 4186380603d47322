//! The integration tests: what the crates do together, and the program as a user meets it.

mod rig;
mod faulty;
mod parity;
mod towers;
mod recipe;
mod failing;
mod exchange;
mod program;
mod emulator;
mod resume;
mod commands;
mod formats;
mod bad_input;
mod rules;
mod emulated;
mod driver;
mod gpu_faults;
mod overflow;
mod libraries;
mod tiles;
mod doctor;
