//! A scan's data as a sequence of intervals between restart markers.

use super::{
    clean::{Clean, End},
    entropy::{Fault, Reader},
    error::{JpegError, Reason},
};

/// A place in a scan's data, counted in MCUs.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    file: &'a [u8],
    clean: &'a mut Clean,
    reader: Reader,
    /// MCUs between restart markers.
    interval: usize,
    /// MCUs to the next one.
    left: usize,
    /// Number of the next restart marker.
    restart: u8,
    /// No MCU of the interval has been entered.
    fresh: bool,
}

/// Some MCUs' bytes.
pub(super) struct Entered<'a> {
    /// How many MCUs.
    pub(super) count: usize,
    /// Whether they are an interval's first: predictions begin anew.
    pub(super) fresh: bool,
    pub(super) reader: &'a mut Reader,
    pub(super) bytes: &'a [u8],
}

impl<'a> Stream<'a> {
    /// At the first MCU, whose data begin at `data`. No restart markers if `interval` is 0.
    pub(super) fn new(
        file: &'a [u8], data: usize, clean: &'a mut Clean, interval: usize,
    ) -> Self {
        clean.begin(data);
        let interval = if interval == 0 { usize::MAX } else { interval };
        let reader = Reader::default();
        Self { file, clean, reader, interval, left: interval, restart: 0, fresh: true }
    }

    /// MCUs to the end of the interval.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Makes up to `count` MCUs ready, which take no more than `need` bytes; fewer if a restart
    /// marker comes before.
    ///
    /// # Errors
    /// If the marker is missing.
    pub(super) fn enter(
        &mut self, count: usize, need: usize,
    ) -> Result<Entered<'_>, JpegError> {
        if self.left == 0 {
            self.next_interval()?;
        }
        self.clean.ensure(self.file, &mut self.reader, need);
        let fresh = std::mem::take(&mut self.fresh);
        let (reader, bytes) = (&mut self.reader, self.clean.bytes());
        Ok(Entered { count: count.min(self.left), fresh, reader, bytes })
    }

    /// Accounts for MCUs that were entered.
    ///
    /// # Errors
    /// If they were broken, or had more bits than there are.
    pub(super) fn leave(
        &mut self, count: usize, outcome: Result<(), Fault>,
    ) -> Result<(), JpegError> {
        let overdrawn = self.clean.is_overdrawn(&self.reader);
        if let Some(fault) = outcome.err().or(overdrawn.then_some(Fault::Starved)) {
            return Err(self.fault(fault, overdrawn));
        }
        self.left -= count;
        Ok(())
    }

    #[cold]
    fn fault(&self, fault: Fault, overdrawn: bool) -> JpegError {
        let reason = match fault {
            _ if overdrawn => Reason::DataEnd, // what comes after the last byte says nothing
            Fault::Starved => Reason::DataEnd,
            Fault::Code => Reason::Code,
            Fault::Overrun => Reason::Overrun,
        };
        self.clean.broken(self.file, &self.reader, reason)
    }

    /// Passes over the rest of the interval without reading it.
    pub(super) fn leave_interval(&mut self) {
        self.left = 0; // its end is searched for when more is entered
    }

    /// Begins the interval after the next restart marker, unless one is begun already.
    ///
    /// # Errors
    /// If the marker is missing.
    pub(super) fn next_interval(&mut self) -> Result<(), JpegError> {
        let expected = self.restart;
        match self.clean.end(self.file) {
            End::Marker(marker, after) if marker == 0xD0 + expected => self.clean.begin(after),
            End::Marker(_, after) => {
                let (offset, reason) = (after - 1, Reason::Restart { expected });
                return Err(JpegError::Broken { offset, reason });
            }
            End::File => {
                let (offset, reason) = (self.file.len(), Reason::DataEnd);
                return Err(JpegError::Broken { offset, reason });
            }
        }
        self.restart = (expected + 1) % 8;
        self.left = self.interval;
        self.reader = Reader::default();
        self.fresh = true;
        Ok(())
    }

    /// The place after the scan's data: of the next marker that is no restart marker.
    pub(super) fn end(&self) -> usize {
        let mut end = self.clean.end(self.file);
        loop {
            match end {
                End::Marker(0xD0..=0xD7, after) => end = Clean::end_from(self.file, after),
                End::Marker(_, after) => return after - 2,
                End::File => return self.file.len(),
            }
        }
    }
}
