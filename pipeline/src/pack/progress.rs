//! How far a long task is, told to whoever draws the bar.

/// Passed to the callback of [`build`](crate::pack::build()) and [`synth`](crate::synth::synth), from
/// any thread, after each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pictures finished so far.
    pub done: u64,
    /// Pictures in all.
    pub total: u64,
}
