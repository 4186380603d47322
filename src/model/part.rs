//! What of the net one device carries.

/// Towers `first..first + count` of `of`, carried by one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first tower.
    pub first: usize,
    /// Towers carried.
    pub count: usize,
    /// Towers in all.
    pub of: usize,
}

impl Part {
    /// The part of device `index` when `devices` devices share `towers` towers evenly.
    pub fn of_device(index: usize, devices: usize, towers: usize) -> Self {
        assert!(devices > 0 && towers.is_multiple_of(devices), "{towers} over {devices}");
        let count = towers / devices;
        Self { first: index * count, count, of: towers }
    }

    /// This part's share of `total` channels that are split over the towers.
    pub fn share(&self, total: usize) -> usize {
        total / self.of * self.count
    }

    /// Index of this part's first channel.
    pub fn offset(&self, total: usize) -> usize {
        total / self.of * self.first
    }

    /// Whether it carries the first tower, where the logits of all are added up.
    pub const fn leads(&self) -> bool {
        self.first == 0
    }
}
