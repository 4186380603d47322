//! When each stream did what, on the host's clock: recorded with events, told when they have happened.

use super::context::{Context, Event, Stream};
use crate::device::{DeviceError, Span};
use cudarc::driver::DriverError;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// What streams did, or are doing.
#[derive(Debug)]
pub(super) struct Timeline {
    context: Arc<Context>,
    /// An event that has happened, and when: all others are told by it.
    base: (Event, Instant),
    under_way: VecDeque<UnderWay>,
    /// Events for the next ones.
    spare: Vec<(Event, Event)>,
}

#[derive(Debug)]
struct UnderWay {
    stream: &'static str,
    name: &'static str,
    start: Event,
    end: Event,
}

impl Timeline {
    /// Begins now; waits for `stream` once, so that both clocks are read at the same time.
    pub(super) fn new(context: &Arc<Context>, stream: &Stream) -> Result<Self, DeviceError> {
        let base = Event::timed(context)?;
        let recorded = stream.record(&base).and_then(|()| stream.synchronize());
        context.check("reading its clock", recorded)?;
        let (base, under_way) = ((base, Instant::now()), VecDeque::new());
        Ok(Self { context: Arc::clone(context), base, under_way, spare: vec![] })
    }

    /// `stream`, called so, does what `body` asks of it under the name `name`.
    pub(super) fn span<E: From<DriverError>>(
        &mut self, called: &'static str, stream: &Stream, name: &'static str,
        body: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let events = self.spare.pop().map_or_else(
            || Ok((Event::timed(&self.context)?, Event::timed(&self.context)?)),
            Ok::<_, DeviceError>,
        );
        let Ok((start, end)) = events else { return body() }; // untold, but done
        stream.record(&start)?;
        body()?;
        stream.record(&end)?;
        self.under_way.push_back(UnderWay { stream: called, name, start, end });
        Ok(())
    }

    /// Tells what has been done since the last call, oldest first.
    pub(super) fn tell(&mut self, each: &mut dyn FnMut(Span)) -> Result<(), DriverError> {
        while let Some(done) = self.under_way.front() {
            if !done.end.happened()? {
                return Ok(());
            }
            let Some(UnderWay { stream, name, start, end }) = self.under_way.pop_front() else {
                return Ok(());
            };
            let (base, at) = &self.base;
            let (began_ms, ended_ms) = (start.since_ms(base)?, end.since_ms(base)?);
            let after = |ms: f32| Duration::from_secs_f64(f64::from(ms.abs()) * 1e-3);
            let began = if began_ms < 0.0 {
                at.checked_sub(after(began_ms)).unwrap_or(*at)
            } else {
                *at + after(began_ms)
            };
            each(Span { stream, name, began, took: after(ended_ms - began_ms) });
            // The base moves along, so that milliseconds in single precision stay exact.
            let ended = began + after(ended_ms - began_ms);
            let before = std::mem::replace(&mut self.base, (end, ended));
            self.spare.push((before.0, start));
        }
        Ok(())
    }
}
