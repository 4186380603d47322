//! Packs pictures in any layout into shard files and `dataset.json`, and checks what was packed.

pub(crate) mod staging;
mod progress;
mod dedupe;
mod plan;
mod space;
mod manifest;
mod turn;
mod ordered;
mod rewrite;
mod packer;
mod expected;
mod build;
mod merge;
mod verify;
mod inspect;

pub use build::{
    Incomplete, PackConfig, PackError, PackPolicy, PackReport, PartReport, QUALITY,
    SHARD_RECORDS, build, build_part,
};
pub use dedupe::Dedupe;
pub use inspect::{CELL_MAX, COLUMNS_MAX, ROWS_MAX, Sheet, contact_sheet};
pub use merge::merge;
pub use plan::Part;
pub use progress::Progress;
pub use staging::StagingError;
pub use verify::{VerifyReport, verify};

#[cfg(test)]
mod tests;
