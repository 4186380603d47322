//! JPEGs and shards to augmented training batches in ring slots, on OS threads.
//!
//! The modules stand in the order in which a picture travels. Nothing here knows a device or a
//! network: the ring's memory comes from outside.

mod level;
pub mod random;
pub mod thread;
pub mod stats;
pub mod trace;
pub mod dataset;
pub mod shard;
pub mod source;
pub mod order;
pub mod jpeg;
pub mod decode;
pub mod orientation;
pub mod resize;
pub mod augment;
pub mod ring;
pub mod feed;
pub mod statistics;
pub mod pack;
pub mod synth;
