//! Packs a tree of pictures into shard files.

pub(crate) mod staging;
mod progress;

pub use progress::Progress;
pub use staging::StagingError;
