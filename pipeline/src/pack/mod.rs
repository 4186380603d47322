//! Packs a tree of pictures into shard files and `dataset.json`, and checks what was packed.

pub(crate) mod staging;
mod progress;
mod ordered;
mod build;
mod verify;
mod inspect;

pub use build::{
    Incomplete, PackConfig, PackError, PackPolicy, PackReport, QUALITY, SHARD_RECORDS, build,
};
pub use inspect::{CELL_MAX, COLUMNS_MAX, ROWS_MAX, Sheet, contact_sheet};
pub use progress::Progress;
pub use staging::StagingError;
pub use verify::{VerifyReport, verify};
