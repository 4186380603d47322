//! What one part of the net needs of the others: activations forward, their gradients backward, at
//! the layers that look across. Goes through host memory; buffers travel to and fro and are reused.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Parcels under way in one direction: one for the layer being computed, one sent ahead, and one
/// spare so that a sender never waits for a receiver that is a layer behind.
pub const PARCELS_MAX: usize = 1 + 1 + 1;

/// Which tensor a parcel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Batches computed before this one.
    pub turn: u64,
    /// Layer of the net.
    pub layer: usize,
    /// Gradients on their way back.
    pub backward: bool,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.backward { "gradients" } else { "activations" };
        write!(f, "the {way} at layer {} in turn {}", self.layer + 1, self.turn)
    }
}

/// Why a part could not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// Another part failed first; its error is the cause.
    #[error("tower {tower} stopped because: {first}")]
    Poisoned {
        /// The part that was told.
        tower: usize,
        /// The first error.
        first: String,
    },
    /// Nothing came for too long.
    #[error("tower {tower} waited {seconds} s for {tag} of tower {peer}")]
    Stuck {
        /// Who waited.
        tower: usize,
        /// For whom.
        peer: usize,
        /// For what.
        tag: Tag,
        /// How long, in seconds.
        seconds: u64,
    },
    /// The peer is at another place: a bug, told rather than computed with.
    #[error("tower {tower} wanted {wanted} and got {got}")]
    OutOfStep {
        /// Who noticed.
        tower: usize,
        /// What was wanted.
        wanted: Tag,
        /// What came.
        got: Tag,
    },
}

struct Parcel {
    tag: Tag,
    floats: Vec<f32>,
}

/// The first error of any part; whoever meets a closed channel finds the reason here.
#[derive(Debug, Clone, Default)]
pub struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// Keeps the first error only.
    pub fn set(&self, error: String) {
        let _ = self.0.set(error); // a later error is a consequence of the first
    }

    /// The first error, if any.
    pub fn first(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// One part's ends of the channels to one other part.
struct Link {
    peer: usize,
    to: Sender<Parcel>,
    from: Receiver<Parcel>,
    spare: Vec<Vec<f32>>,
}

/// One part's view of the exchange.
pub struct Exchange {
    tower: usize,
    links: Vec<Link>,
    poison: Poison,
    patience: Duration,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("tower", &self.tower).finish_non_exhaustive()
    }
}

impl Exchange {
    /// The ends for `parts` parts, all linked with all. A part that waits longer than `patience`
    /// gives up and names what it waited for.
    pub fn between(parts: usize, patience: Duration) -> (Vec<Self>, Poison) {
        let poison = Poison::default();
        let mut ends: Vec<Self> = (0..parts)
            .map(|tower| Self { tower, links: Vec::new(), poison: poison.clone(), patience })
            .collect();
        for a in 0..parts {
            for b in a + 1..parts {
                let (to_b, from_a) = bounded(PARCELS_MAX);
                let (to_a, from_b) = bounded(PARCELS_MAX);
                ends[a].links.push(Link { peer: b, to: to_b, from: from_b, spare: vec![] });
                ends[b].links.push(Link { peer: a, to: to_a, from: from_a, spare: vec![] });
            }
        }
        (ends, poison)
    }

    /// Other parts, in the order of `peer` below.
    pub fn peers(&self) -> usize {
        self.links.len()
    }

    /// Device index of the `peer`-th other part.
    pub fn device_of(&self, peer: usize) -> usize {
        self.links[peer].peer
    }

    /// Sends `len` floats, which `fill` writes.
    ///
    /// # Errors
    /// If the peer has stopped.
    pub fn send(
        &mut self, peer: usize, tag: Tag, len: usize, fill: impl FnOnce(&mut [f32]),
    ) -> Result<(), ExchangeError> {
        let link = &mut self.links[peer];
        let mut floats = link.spare.pop().unwrap_or_default();
        floats.resize(len, 0.0);
        fill(&mut floats);
        match link.to.send_timeout(Parcel { tag, floats }, self.patience) {
            Ok(()) => Ok(()),
            Err(crossbeam_channel::SendTimeoutError::Timeout(_)) => Err(self.stuck(peer, tag)),
            Err(_) => Err(self.poisoned(peer)),
        }
    }

    /// Waits for the floats that carry `tag` and lends them to `take`.
    ///
    /// # Errors
    /// If the peer has stopped, is silent for too long, or is out of step.
    pub fn receive(
        &mut self, peer: usize, tag: Tag, take: impl FnOnce(&[f32]),
    ) -> Result<(), ExchangeError> {
        let parcel = match self.links[peer].from.recv_timeout(self.patience) {
            Ok(parcel) => parcel,
            Err(RecvTimeoutError::Timeout) => return Err(self.stuck(peer, tag)),
            Err(RecvTimeoutError::Disconnected) => return Err(self.poisoned(peer)),
        };
        if parcel.tag != tag {
            let (tower, got) = (self.tower, parcel.tag);
            return Err(ExchangeError::OutOfStep { tower, wanted: tag, got });
        }
        take(&parcel.floats);
        self.links[peer].spare.push(parcel.floats);
        Ok(())
    }

    fn stuck(&self, peer: usize, tag: Tag) -> ExchangeError {
        let (tower, peer) = (self.tower, self.links[peer].peer);
        ExchangeError::Stuck { tower, peer, tag, seconds: self.patience.as_secs() }
    }

    fn poisoned(&self, peer: usize) -> ExchangeError {
        let unknown = || format!("tower {} is gone", self.links[peer].peer);
        let first = self.poison.first().map_or_else(unknown, str::to_owned);
        ExchangeError::Poisoned { tower: self.tower, first }
    }
}

/// Seconds of one batch by part of the step, added up by the tower that measures them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Waiting for a batch.
    pub data: f64,
    /// Local work forward.
    pub forward: f64,
    /// Local work backward.
    pub backward: f64,
    /// Waiting for and copying what crosses.
    pub exchange: f64,
    /// The optimiser.
    pub update: f64,
}

impl Times {
    /// Adds another batch's.
    pub fn add(&mut self, other: &Self) {
        self.data += other.data;
        self.forward += other.forward;
        self.backward += other.backward;
        self.exchange += other.exchange;
        self.update += other.update;
    }

    /// Multiplies by `factor`: a mean over towers or steps.
    pub fn scale(&mut self, factor: f64) {
        for time in [
            &mut self.data,
            &mut self.forward,
            &mut self.backward,
            &mut self.exchange,
            &mut self.update,
        ] {
            *time *= factor;
        }
    }
}

/// Keeps the last panic message of a named thread for the poison.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { turn: 3, layer: 2, backward: false };

    #[test]
    fn floats_cross_and_their_buffers_come_back() {
        let (mut ends, _) = Exchange::between(2, Duration::from_secs(5));
        let (mut b, mut a) = (ends.pop().expect("two"), ends.pop().expect("two"));
        a.send(0, TAG, 2, |out| out.copy_from_slice(&[1.0, 2.0])).expect("an open link");
        let mut got = vec![];
        b.receive(0, TAG, |floats| got.extend_from_slice(floats)).expect("a parcel");
        assert_eq!(got, [1.0, 2.0]);
        assert_eq!(b.links[0].spare.len(), 1);
    }

    #[test]
    fn a_failed_tower_hands_on_the_first_error() {
        let (mut ends, poison) = Exchange::between(2, Duration::from_secs(5));
        drop(ends.pop());
        poison.set("out of memory".into());
        poison.set("a consequence".into());
        let error = ends[0].receive(0, TAG, |_| ()).expect_err("a poisoned link");
        assert_eq!(error.to_string(), "tower 0 stopped because: out of memory");
    }

    #[test]
    fn a_silent_tower_is_named_with_what_was_waited_for() {
        let (mut ends, _) = Exchange::between(2, Duration::from_millis(1));
        let error = ends[0].receive(0, TAG, |_| ()).expect_err("nothing was sent").to_string();
        assert!(error.contains("activations at layer 3 in turn 3 of tower 1"), "{error}");
    }
}
