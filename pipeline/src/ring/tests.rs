use super::*;
use proptest::prelude::*;

fn acquire(ring: &Ring<Vec<u8>>, valid: usize) -> Filling<Vec<u8>> {
    let (_alive, abort) = bounded(0);
    let mut filling = ring.acquire(&abort).expect("nobody aborts");
    filling.batch_mut().valid = valid;
    filling
}

proptest! {
    #[test]
    fn slots_are_conserved(steps in prop::collection::vec((0..5, 1..5usize), 0..64)) {
        let ring = Ring::new(vec![vec![0; 8]; 3], 4);
        for (step, valid) in steps {
            let filling = acquire(&ring, valid);
            if step == 0 { continue; }
            let mut cells = Vec::new();
            let mut runs = filling.into_cells(2);
            while let Some(run) = runs.split(2) {
                prop_assert!(run.left.len() == 2 || runs.left.is_empty());
                cells.extend(run);
            }
            if step == 1 { cells.pop(); }
            if step == 2 { cells.rotate_left(valid / 2); }
            let mut ready = None;
            for mut cell in cells {
                let index = cell.index() as u8;
                cell.bytes_mut().fill(index);
                prop_assert!(ready.is_none());
                ready = cell.finish();
            }
            prop_assert_eq!(ready.is_some(), step != 1);
            let Some(ready) = ready else { continue };
            for i in 0..valid {
                prop_assert_eq!(&ready.bytes()[2 * i..2 * i + 2], &[i as u8; 2]);
            }
            let mut towers = ready.share(2);
            prop_assert_eq!(towers[0].bytes(), towers[1].bytes());
            if step == 3 { towers.pop(); }
        }
        prop_assert_eq!(ring.free(), 3);
    }
}

#[test]
fn cells_written_by_many_threads_make_one_batch() {
    let ring = Ring::new(vec![vec![0; 64 * 4]; 2], 64);
    for _ in 0..50 {
        let cells = acquire(&ring, 64).into_cells(4);
        let ready: Vec<_> = std::thread::scope(|scope| {
            let write = |mut cell: Cell<Vec<u8>>| {
                let index = cell.index() as u8;
                cell.bytes_mut().fill(index);
                cell.finish()
            };
            let threads: Vec<_> = cells.map(|cell| scope.spawn(move || write(cell))).collect();
            threads.into_iter().filter_map(|t| t.join().expect("no panic")).collect()
        });
        let [ready] = ready.as_slice() else { panic!("{} batches", ready.len()) };
        let bytes = ready.bytes();
        assert!(bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i / 4));
    }
}

#[test]
fn a_closed_abort_wakes_who_waits_for_a_slot() {
    let ring = Ring::new(vec![vec![0; 8]; 2], 4);
    let _both = [acquire(&ring, 1), acquire(&ring, 1)];
    let (alive, abort) = bounded(0);
    drop(alive);
    assert!(ring.acquire(&abort).is_none());
}

#[test]
fn memory_may_lie_within_the_slot_itself() {
    #[derive(Debug)]
    struct Within([u8; 8]);
    impl std::ops::Deref for Within {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }
    impl DerefMut for Within {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    let ring = Ring::new(vec![Within([0; 8]), Within([0; 8])], 4);
    let (_alive, abort) = bounded(0);
    let mut filling = ring.acquire(&abort).expect("nobody aborts");
    filling.batch_mut().valid = 4;
    let fill = |mut cell: Cell<Within>| {
        cell.bytes_mut().fill(7);
        cell.finish()
    };
    let ready = filling.into_cells(2).filter_map(fill).last().expect("a whole batch");
    assert_eq!(ready.bytes(), [7; 8]);
}

#[test]
fn a_slot_stays_away_as_long_as_anybody_holds_its_pixels() {
    let ring = Ring::new(vec![vec![0; 4], vec![0; 4]], 2);
    let (_alive, abort) = bounded(0);
    let mut filling = ring.acquire(&abort).expect("nobody aborts");
    filling.batch_mut().valid = 2;
    let ready = filling.into_cells(2).filter_map(Cell::finish).last().expect("a whole batch");
    let lease = ready.share(1).pop().expect("one tower");
    let (pixels, first) = (lease.shared(), lease.bytes().as_ptr());
    drop(lease);
    let bytes: &[u8] = (*pixels).as_ref();
    assert_eq!((bytes.as_ptr(), bytes.len(), ring.free()), (first, 4, 1));
    drop(pixels);
    assert_eq!(ring.free(), 2);
}
