//! What one part of the net needs of the others: activations forward, their gradients backward, at
//! the layers that look across. It crosses in parcels of the devices' own making, which travel full
//! one way and empty the other.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// Parcels of one direction: one for the layer being computed, one sent ahead, and one
/// spare so that a sender never waits for a receiver that is a layer behind.
pub const PARCELS_MAX: usize = 1 + 1 + 1;

/// A batch of those that towers compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Batches computed before this one.
    pub number: u64,
    /// Which step of the training it is, from 0; none in testing.
    pub step: Option<u64>,
}

impl fmt::Display for Turn {
    /// As the metrics count, from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {}", step + 1),
            None => f.write_str("testing"),
        }
    }
}

/// Which tensor a parcel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Of which batch.
    pub turn: Turn,
    /// Layer of the net.
    pub layer: usize,
    /// Gradients on their way back.
    pub backward: bool,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.backward { "gradients" } else { "activations" };
        write!(f, "the {way} at layer {} in {}", self.layer + 1, self.turn)
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

struct Full<P> {
    tag: Tag,
    parcel: P,
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
///
/// Every channel has room for all parcels of its direction: no sender waits.
struct Link<P> {
    peer: usize,
    to: Sender<Full<P>>,
    from: Receiver<Full<P>>,
    /// Ours to fill.
    empty: Receiver<P>,
    /// Where the peer's go when they are emptied.
    back: Sender<P>,
}

/// One part's view of the exchange.
pub struct Exchange<P> {
    tower: usize,
    links: Vec<Link<P>>,
    poison: Poison,
    patience: Duration,
    /// Since the last [`Exchange::waited`].
    waited: Duration,
}

impl<P> fmt::Debug for Exchange<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("tower", &self.tower).finish_non_exhaustive()
    }
}

impl<P> Exchange<P> {
    /// The ends for `parts` parts, all linked with all; `parcels` makes the [`PARCELS_MAX`] that go from
    /// one part to another. A part that waits longer than `patience` gives up and names what it waited
    /// for.
    ///
    /// # Errors
    /// Those of `parcels`.
    pub fn between<E>(
        parts: usize, patience: Duration,
        mut parcels: impl FnMut(usize, usize) -> Result<Vec<P>, E>,
    ) -> Result<(Vec<Self>, Poison), E> {
        let poison = Poison::default();
        let mut ends: Vec<Self> = (0..parts)
            .map(|tower| Self {
                tower,
                links: Vec::new(),
                poison: poison.clone(),
                patience,
                waited: Duration::ZERO,
            })
            .collect();
        for a in 0..parts {
            for b in a + 1..parts {
                let (there, back) =
                    (Direction::of(parcels(a, b)?), Direction::of(parcels(b, a)?));
                ends[a].links.push(Link {
                    peer: b,
                    to: there.to,
                    from: back.from,
                    empty: there.empty,
                    back: back.back,
                });
                ends[b].links.push(Link {
                    peer: a,
                    to: back.to,
                    from: there.from,
                    empty: back.empty,
                    back: there.back,
                });
            }
        }
        Ok((ends, poison))
    }

    /// Other parts, in the order of `peer` below.
    pub fn peers(&self) -> usize {
        self.links.len()
    }

    /// Device index of the `peer`-th other part.
    pub fn device_of(&self, peer: usize) -> usize {
        self.links[peer].peer
    }

    /// Sends a parcel, which `fill` fills.
    ///
    /// # Errors
    /// If the peer has stopped, or gives no parcel back for too long.
    pub fn send(
        &mut self, peer: usize, tag: Tag, fill: impl FnOnce(&mut P),
    ) -> Result<(), ExchangeError> {
        let mut parcel = self.wait(peer, tag, |link| &link.empty)?;
        fill(&mut parcel);
        self.links[peer].to.send(Full { tag, parcel }).map_err(|_| self.poisoned(peer))
    }

    /// Waits for the parcel that carries `tag` and lends it to `take`.
    ///
    /// # Errors
    /// If the peer has stopped, is silent for too long, or is out of step.
    pub fn receive(
        &mut self, peer: usize, tag: Tag, take: impl FnOnce(&mut P),
    ) -> Result<(), ExchangeError> {
        let mut full = self.wait(peer, tag, |link| &link.from)?;
        if full.tag == tag {
            take(&mut full.parcel);
        }
        let _ = self.links[peer].back.send(full.parcel); // a peer that is gone needs it no more
        if full.tag != tag {
            let (tower, got) = (self.tower, full.tag);
            return Err(ExchangeError::OutOfStep { tower, wanted: tag, got });
        }
        Ok(())
    }

    /// What comes from a peer, who may have to be waited for.
    fn wait<T>(
        &mut self, peer: usize, tag: Tag, channel: impl FnOnce(&Link<P>) -> &Receiver<T>,
    ) -> Result<T, ExchangeError> {
        let channel = channel(&self.links[peer]);
        if let Ok(here) = channel.try_recv() {
            return Ok(here);
        }
        let since = Instant::now();
        let came = channel.recv_timeout(self.patience);
        self.waited += since.elapsed();
        came.map_err(|error| match error {
            RecvTimeoutError::Timeout => self.stuck(peer, tag),
            RecvTimeoutError::Disconnected => self.poisoned(peer),
        })
    }

    /// How long this part has waited for others since it was last asked.
    pub fn waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// How long a part waits.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Which part this is.
    pub fn tower(&self) -> usize {
        self.tower
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

/// The channels of one direction: parcels are sent full, received, given back and found empty.
struct Direction<P> {
    to: Sender<Full<P>>,
    from: Receiver<Full<P>>,
    back: Sender<P>,
    empty: Receiver<P>,
}

impl<P> Direction<P> {
    fn of(parcels: Vec<P>) -> Self {
        let ((to, from), (back, empty)) = (bounded(parcels.len()), bounded(parcels.len()));
        parcels.into_iter().for_each(|parcel| back.send(parcel).expect("`empty` is open"));
        Self { to, from, back, empty }
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
    /// Of `exchange`, waiting for what another tower, which was slower or began later, had to send, or to give back. On GPUs it
    /// is the waiting of the threads that give them work, not of their streams.
    #[serde(default)]
    pub waiting: f64,
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
        self.waiting += other.waiting;
        self.update += other.update;
    }

    /// Multiplies by `factor`: a mean over towers or steps.
    pub fn scale(&mut self, factor: f64) {
        for time in [
            &mut self.data,
            &mut self.forward,
            &mut self.backward,
            &mut self.exchange,
            &mut self.waiting,
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

    const TURN: Turn = Turn { number: 3, step: Some(40) };
    const TAG: Tag = Tag { turn: TURN, layer: 2, backward: false };

    /// Two parts of which parcels are numbers.
    fn two(patience: Duration) -> (Exchange<u32>, Exchange<u32>, Poison) {
        let parcels = |_, _| Ok::<_, ()>(vec![0; PARCELS_MAX]);
        let (mut ends, poison) = Exchange::between(2, patience, parcels).expect("no memory");
        let (b, a) = (ends.pop().expect("two"), ends.pop().expect("two"));
        (a, b, poison)
    }

    #[test]
    fn parcels_cross_and_come_back() {
        let (mut a, mut b, _) = two(Duration::from_secs(5));
        for i in 1..10 * PARCELS_MAX as u32 {
            a.send(0, TAG, |parcel| *parcel = i).expect("an open link");
            let mut got = 0;
            b.receive(0, TAG, |parcel| got = *parcel).expect("a parcel");
            assert_eq!(got, i);
        }
        assert_eq!([a.waited(), b.waited()], [Duration::ZERO; 2]); // all was there
    }

    #[test]
    fn a_failed_tower_hands_on_the_first_error() {
        let (mut a, b, poison) = two(Duration::from_secs(5));
        drop(b);
        poison.set("out of memory".into());
        poison.set("a consequence".into());
        let error = a.receive(0, TAG, |_| ()).expect_err("a poisoned link");
        assert_eq!(error.to_string(), "tower 0 stopped because: out of memory");
    }

    #[test]
    fn a_silent_tower_is_named_with_what_was_waited_for() {
        let (mut a, _b, _) = two(Duration::from_millis(1));
        let error = a.receive(0, TAG, |_| ()).expect_err("nothing was sent").to_string();
        assert!(error.contains("activations at layer 3 in step 41 of tower 1"), "{error}");
        assert!(a.waited() >= Duration::from_millis(1));
        assert_eq!(a.waited(), Duration::ZERO); // it was told
    }
}
