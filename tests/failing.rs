//! A tower that fails stops the others: with the first error, at once, and nothing hangs or leaks.

use crate::{
    faulty::{Fault, Faulty},
    rig::{Rig, SLOTS, cpus, tiny, within},
};
use alexnet::{
    config::Config,
    exchange::{Exchange, PARCELS_MAX},
    model::Net,
    tower::{Core, Pass, laps},
};
use gpu::{
    cpu::{Buffer, Cpu},
    device::{Device as _, Pictures},
};
use pipeline::trace::Trace;
use std::{sync::atomic::Ordering, thread, time::Duration};

const CLASSES: usize = 5;
const TRAIN: Pass = Pass::Train { rate: 0.01, step: 0, scale: 1.0 };
/// A batch of the tiny net takes milliseconds. Far below the towers' own patience of 600 s, so that
/// a tower which waits for its lost peer fails the test.
const LIMIT: Duration = Duration::from_secs(20);

/// Calls that a device makes as it is set up, and after its first batch.
fn calls(pass: Pass, tower: usize) -> std::ops::Range<usize> {
    let (devices, counts): (Vec<_>, Vec<_>) = (0..2).map(|_| Faulty::new(Fault::None)).unzip();
    let mut rig = Rig::new(devices, &tiny(), CLASSES).expect("memory");
    let calls = |_: &Rig| counts[tower].load(Ordering::Relaxed);
    let start = calls(&rig);
    let batch = rig.batch(0, &[1, 2]);
    rig.towers.submit(batch, pass, false).expect("healthy towers");
    rig.towers.outcome().expect("healthy towers");
    start..calls(&rig)
}

/// What is told of a panic at call `at` of `tower`.
fn told(tower: usize, at: usize) -> String {
    format!("a bug in tower {tower}: {}", Faulty::text(at))
}

/// Two batches are handed over, and call `at` of `tower` panics.
fn fail(pass: Pass, tower: usize, at: usize) {
    let fault = |i| if i == tower { Fault::Panics(at) } else { Fault::None };
    let devices = (0..2).map(|i| Faulty::new(fault(i)).0).collect();
    let mut rig = Rig::new(devices, &tiny(), CLASSES).expect("memory");
    let batches = [rig.batch(0, &[1, 2]), rig.batch(1, &[3])];
    let mut errors = vec![];
    for batch in batches {
        errors.extend(rig.towers.submit(batch, pass, false).err()); // the tower may be gone by now
    }
    errors.extend(rig.towers.outcome().err());
    errors.extend(rig.towers.outcome().err());
    errors.extend(rig.towers.tensors().err());
    let wanted = told(tower, at);
    assert!(errors.len() >= 2, "{wanted}: {errors:?}");
    assert!(errors.iter().all(|error| error.to_string() == wanted), "{wanted}: {errors:?}");
    // All leases come home with the end of the towers, or this would wait for ever.
    let (ring, never) = (rig.stop(), crossbeam_channel::never());
    let slots: Vec<_> = (0..SLOTS).map(|_| ring.acquire(&never)).collect();
    assert!(slots.iter().all(Option::is_some));
}

#[test]
fn wherever_a_tower_fails_the_other_stops_with_its_error() {
    for pass in [TRAIN, Pass::Test] {
        for tower in 0..2 {
            let calls = calls(pass, tower);
            assert!(calls.len() > 10, "{calls:?}");
            for at in calls {
                within(LIMIT, move || fail(pass, tower, at));
            }
        }
    }
}

#[test]
fn of_two_failures_one_is_told_and_nothing_hangs() {
    for offset in 0..8 {
        within(LIMIT, move || {
            let at = [0, 1].map(|tower| calls(TRAIN, tower).start + 3 * offset);
            let devices = at.map(|at| Faulty::new(Fault::Panics(at)).0);
            let mut rig = Rig::new(devices.into(), &tiny(), CLASSES).expect("memory");
            let batch = rig.batch(0, &[1, 2]);
            let error = rig.pass(TRAIN, batch).expect_err("two faults").to_string();
            let wanted = [0, 1].map(|tower| told(tower, at[tower]));
            assert!(wanted.contains(&error), "{error}");
        });
    }
}

#[test]
fn a_tower_without_memory_is_told_before_any_work() {
    within(LIMIT, || {
        let conv1 = &Net::new(&tiny(), CLASSES).layers[0]; // whose outputs are the largest
        let most = conv1.kernels / 2 * conv1.side_out.pow(2) * tiny().train.batch;
        let devices = [Fault::None, Fault::NoRoom(most)].map(|fault| Faulty::new(fault).0);
        let error = Rig::new(devices.into(), &tiny(), CLASSES).expect_err("no room");
        assert_eq!(error.to_string(), format!("faulty has no room for {} bytes", 4 * most));
    });
}

#[test]
fn dropped_in_the_middle_of_its_work_the_handle_joins_its_towers() {
    within(LIMIT, || {
        for in_flight in 0..3 {
            let mut rig = Rig::new(cpus(2, 1), &tiny(), CLASSES).expect("memory");
            for step in 0..in_flight {
                let batch = rig.batch(step, &[1, 2]);
                let pass = Pass::Train { rate: 0.01, step: u64::from(step), scale: 1.0 };
                rig.towers.submit(batch, pass, false).expect("healthy towers");
            }
        }
    });
}

/// Tower `index` of two without its thread.
fn core(config: &Config, index: usize) -> Core<Cpu> {
    let net = Net::new(config, CLASSES);
    let cpu = cpus(1, 1).pop().expect("one");
    Core::new(cpu, &net, index, 2, &config.train).expect("memory")
}

/// The ends of two towers without threads, whose parcels have room for the tiny net's.
fn ends(patience: Duration) -> Vec<Exchange<Buffer>> {
    let cpu = cpus(1, 1).pop().expect("one");
    let parcels = |_, _| Cpu::parcels(&cpu, &cpu, PARCELS_MAX, 1 << 16);
    Exchange::between(2, patience, parcels).expect("memory").0
}

fn pictures(config: &Config) -> Pictures {
    vec![1.0; 3 * config.data.crop.pow(2) * config.train.batch].into()
}

#[test]
fn a_tower_whose_peer_is_silent_names_what_it_waits_for() {
    let config = tiny();
    let mut ends = ends(Duration::from_millis(20));
    let pictures = pictures(&config);
    let error = core(&config, 0)
        .batch(TRAIN, &pictures, &[1, 2], &mut ends[0], &mut laps(&Trace::off()))
        .expect_err("no peer");
    let text = "tower 0 waited 0 s for the activations at layer 3 in step 1 of tower 1";
    assert_eq!(error.to_string(), text);
}

#[test]
fn towers_that_are_out_of_step_notice() {
    let ends = ends(LIMIT);
    // One trains where the other tests.
    let run = |(index, mut exchange): (usize, Exchange<Buffer>)| {
        let (config, pass) = (tiny(), [TRAIN, Pass::Test][index]);
        let (mut core, pictures) = (core(&config, index), pictures(&config));
        let mut batch =
            || core.batch(pass, &pictures, &[1, 2], &mut exchange, &mut laps(&Trace::off()));
        batch().and_then(|_| batch()).expect_err("a peer out of step").to_string()
    };
    let errors: Vec<_> = thread::scope(|scope| {
        let ends = ends.into_iter().enumerate();
        let threads: Vec<_> = ends.map(|end| scope.spawn(move || run(end))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let wanted = [
        "tower 0 wanted the activations at layer 3 in step 1 and got the activations at layer 3 in \
         testing",
        "tower 1 wanted the activations at layer 3 in testing and got the activations at layer 3 in \
         step 1",
    ];
    assert_eq!(errors, wanted);
}
