//! The CPU version.
