//! Walks over the MCUs of a picture's only scan: some are decoded, some passed over, and whole
//! intervals between restart markers are not even read where nothing of them is needed.

use super::{
    entropy::{self, Mcu, Prediction},
    error::JpegError,
    header::COMPONENTS_MAX,
    level::Level,
    plan::GROUP_BLOCKS,
    stream::Stream,
};

/// Most bytes of a block: 64 coefficients of 16 bits of code and 15 of value.
pub(super) const BLOCK_BYTES_MAX: usize = 64 * 31 / 8;
/// What the reservoir may load beyond them.
pub(super) const AHEAD: usize = 8;

/// A place among the MCUs.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    level: Level,
    stream: Stream<'a>,
    mcu: Mcu<'a>,
    prediction: Prediction,
}

impl<'a> Walk<'a> {
    /// At the first MCU.
    pub(super) fn new(level: Level, stream: Stream<'a>, mcu: Mcu<'a>) -> Self {
        Self { level, stream, mcu, prediction: [0; COMPONENTS_MAX] }
    }

    /// Most bytes of some MCUs.
    fn need(&self, count: usize) -> usize {
        count * self.mcu.slots.len() * BLOCK_BYTES_MAX + AHEAD
    }

    /// Decodes `count` MCUs, of no more blocks than a group has, into `blocks`, which are zero.
    /// They may be fewer, up to the next restart marker.
    ///
    /// # Errors
    /// If the data are broken or end before.
    pub(super) fn decode(
        &mut self, count: usize, blocks: &mut [[i16; 64]],
    ) -> Result<usize, JpegError> {
        let need = self.need(count);
        let entered = self.stream.enter(count, need)?;
        if entered.fresh {
            self.prediction = [0; COMPONENTS_MAX];
        }
        let outcome = entropy::decode(
            self.level,
            entered.reader,
            entered.bytes,
            self.mcu,
            entered.count,
            &mut self.prediction,
            blocks,
        );
        let count = entered.count;
        self.stream.leave(count, outcome)?;
        Ok(count)
    }

    /// Passes over `count` MCUs.
    ///
    /// # Errors
    /// If the data are broken or end before; but not if they are in an interval that is passed
    /// over as a whole, or after the last MCU that is ever decoded.
    pub(super) fn skip(&mut self, mut count: usize) -> Result<(), JpegError> {
        let group = GROUP_BLOCKS / self.mcu.slots.len();
        while count > 0 {
            if count >= self.stream.left() {
                count -= self.stream.left();
                self.stream.leave_interval();
                if count > 0 {
                    self.stream.next_interval()?;
                }
                continue;
            }
            let some = count.min(group);
            let need = self.need(some);
            let entered = self.stream.enter(some, need)?;
            if entered.fresh {
                self.prediction = [0; COMPONENTS_MAX];
            }
            let outcome = entropy::skip(
                self.level,
                entered.reader,
                entered.bytes,
                self.mcu,
                entered.count,
                &mut self.prediction,
            );
            let some = entered.count;
            self.stream.leave(some, outcome)?;
            count -= some;
        }
        Ok(())
    }
}
