//! How far a long task is, told to whoever draws the bar.

/// Passed to the callback of [`build`](crate::pack::build()) and [`synth`](crate::synth::synth), from
/// any thread, after each picture; to that of [`verify_source`](crate::source::verify_source), in
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pictures, or bytes, finished so far.
    pub done: u64,
    /// How many there are in all.
    pub total: u64,
}
