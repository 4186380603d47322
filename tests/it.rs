//! The integration tests: what the crates do together, and the program as a user meets it.

mod program;
mod resume;
mod bad_input;
mod rules;
