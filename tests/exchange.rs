//! A seeded simulation of the exchange: parts that send, receive and leave in any order, held to a
//! model of what each call must return.

use alexnet::exchange::{Exchange, PARCELS_MAX, Poison, Tag, Turn};
use pipeline::random::Draws;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

const SEEDS: u64 = 60;
const CALLS: usize = 80;
/// Nothing arrives while a call waits, as there is one thread: any patience will do.
const PATIENCE: Duration = Duration::from_millis(1);

type Parcel = (Tag, Vec<f32>);

/// What is under way from part to part, and who has left.
#[derive(Default)]
struct Model {
    parcels: HashMap<(usize, usize), VecDeque<Parcel>>,
    gone: Vec<bool>,
    first_error: Option<String>,
}

impl Model {
    fn poisoned(&self, part: usize, peer: usize) -> String {
        let first = self.first_error.clone().unwrap_or(format!("tower {peer} is gone"));
        format!("tower {part} stopped because: {first}")
    }

    fn stuck(part: usize, peer: usize, tag: Tag) -> String {
        format!("tower {part} waited 0 s for {tag} of tower {peer}")
    }

    fn send(
        &mut self, part: usize, peer: usize, tag: Tag, floats: Vec<f32>,
    ) -> Result<(), String> {
        if self.gone[peer] {
            return Err(self.poisoned(part, peer));
        }
        let parcels = self.parcels.entry((part, peer)).or_default();
        if parcels.len() == PARCELS_MAX {
            return Err(Self::stuck(part, peer, tag));
        }
        parcels.push_back((tag, floats));
        Ok(())
    }

    fn receive(&mut self, part: usize, peer: usize, tag: Tag) -> Result<Vec<f32>, String> {
        let parcels = self.parcels.entry((peer, part)).or_default();
        match parcels.pop_front() {
            Some((got, floats)) if got == tag => Ok(floats),
            Some((got, _)) => Err(format!("tower {part} wanted {tag} and got {got}")),
            None if self.gone[peer] => Err(self.poisoned(part, peer)),
            None => Err(Self::stuck(part, peer, tag)),
        }
    }

    fn leave(&mut self, part: usize, poison: &Poison) {
        let error = format!("an error of tower {part}");
        poison.set(error.clone());
        self.first_error.get_or_insert(error);
        self.gone[part] = true;
    }
}

fn tag(draws: &mut Draws) -> Tag {
    let layer = draws.below(2) as usize;
    Tag { turn: Turn { number: 7, step: None }, layer, backward: draws.below(8) == 0 }
}

/// Makes the calls of one seed; returns the kinds of result that came.
fn simulate(seed: u64) -> BTreeSet<&'static str> {
    let mut draws = Draws::new(seed, 0, 0, 0);
    let parts = 2 + draws.below(3) as usize;
    let parcels = |_, _| Ok::<_, ()>(vec![vec![]; PARCELS_MAX]);
    let (ends, poison) = Exchange::between(parts, PATIENCE, parcels).expect("no memory");
    let mut ends: Vec<_> = ends.into_iter().map(Some).collect();
    let mut model = Model { gone: vec![false; parts], ..Model::default() };
    let mut kinds = BTreeSet::new();
    for call in 0..CALLS {
        let part = draws.below(parts as u32) as usize;
        let Some(end) = &mut ends[part] else { continue };
        let link = draws.below(end.peers() as u32) as usize;
        let (peer, tag) = (end.device_of(link), tag(&mut draws));
        let (found, wanted) = match draws.below(40) {
            0 => {
                model.leave(part, &poison);
                ends[part] = None;
                kinds.insert("left");
                continue;
            }
            1..20 => {
                let floats = vec![call as f32; draws.below(5) as usize];
                let sent = end.send(link, tag, |out: &mut Vec<f32>| out.clone_from(&floats));
                (sent.map(|()| vec![]), model.send(part, peer, tag, floats).map(|()| vec![]))
            }
            _ => {
                let mut floats = vec![];
                let received = end.receive(link, tag, |from| floats.clone_from(from));
                (received.map(|()| floats), model.receive(part, peer, tag))
            }
        };
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, wanted, "seed {seed}, call {call}");
        kinds.insert(match &found {
            Ok(floats) if floats.is_empty() => "sent",
            Ok(_) => "received",
            Err(error) if error.contains("waited") => "stuck",
            Err(error) if error.contains("wanted") => "out of step",
            Err(_) => "poisoned",
        });
    }
    assert_eq!(poison.first().map(str::to_owned), model.first_error);
    kinds
}

#[test]
fn every_call_returns_what_the_model_says() {
    let kinds: BTreeSet<_> = (0..SEEDS).flat_map(simulate).collect();
    let all = ["left", "out of step", "poisoned", "received", "sent", "stuck"];
    assert!(kinds.into_iter().eq(all), "the seeds reach every kind of result");
}
