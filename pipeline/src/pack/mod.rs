//! Packs a tree of pictures into shard files and `dataset.json`, and checks what was packed.

mod build;
pub(crate) mod staging;
mod progress;
mod verify;

pub use build::{PackConfig, PackError, PackPolicy, PackReport, QUALITY, SHARD_RECORDS, build};
pub use progress::Progress;
pub use staging::StagingError;
pub use verify::{VerifyReport, verify};
