//! Whether a net has not begun to learn when it is time to look: its loss is that of guessing.

/// A loss closer than this to ln(classes), in nats, is that of guessing.
const MARGIN: f64 = 0.01;
/// Steps that the loss is averaged over before it is called flat.
const WINDOW: u64 = 20;

/// The loss of the steps before the one after which to look.
#[derive(Debug, Clone, Copy)]
pub struct Flat {
    look_after: u64,
    sum: f64,
    count: u64,
}

impl Flat {
    /// Nothing yet; `look_after` steps from the start of the run on is when to look.
    pub const fn new(look_after: u64) -> Self {
        Self { look_after, sum: 0.0, count: 0 }
    }

    /// Step `step`, counted from 1, had this loss.
    pub fn add(&mut self, step: u64, loss: f64) {
        let near = step <= self.look_after && step + WINDOW > self.look_after;
        if near && loss.is_finite() {
            (self.sum, self.count) = (self.sum + loss, self.count + 1);
        }
    }

    /// After step `step`, the mean loss and that of guessing among `classes`, if it is time to look and they are
    /// the same.
    pub fn found(&self, step: u64, classes: usize) -> Option<(f64, f64)> {
        let (loss, guessing) = (self.sum / self.count as f64, (classes as f64).ln());
        let flat = step == self.look_after && (loss - guessing).abs() <= MARGIN;
        flat.then_some((loss, guessing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_once_at_the_mean_of_the_last_finite_losses() {
        let guessing = 10_f64.ln();
        let mut flat = Flat::new(50);
        (1..=30).for_each(|step| flat.add(step, 100.0));
        (31..=49).for_each(|step| flat.add(step, guessing + 0.001));
        assert_eq!(flat.found(49, 10), None);
        flat.add(50, f64::NAN);
        let (loss, of_guessing) = flat.found(50, 10).expect("flat");
        assert!((loss - guessing - 0.001).abs() < 1e-9 && of_guessing == guessing);
        assert_eq!(flat.found(50, 11), None);
        assert_eq!(Flat::new(50).found(50, 10), None, "nothing was added");
    }
}
