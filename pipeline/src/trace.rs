//! A timeline of actors, slots and queues, in the JSON that chrome://tracing and Perfetto read: the
//! way to see what overlaps and what waits.
//!
//! Events are written as they happen. A file that was cut short by a crash still opens.

use crate::thread::Joined;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::Arc,
    thread::{Thread, ThreadId},
    time::{Duration, Instant},
};

/// Events on their way to the file; when they are as many, actors wait for it.
const EVENTS_MAX: usize = 1 << 16;

/// A handle on a timeline, or on none: then all calls cost a branch.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Inner>>);

struct Inner {
    events: Sender<Event>, // closed before the writer is joined: fields drop in this order
    _writer: Joined,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Trace" } else { "Trace(off)" })
    }
}

enum Event {
    Span { thread: Thread, name: &'static str, began: Instant, took: Duration },
    Lane { lane: String, name: &'static str, began: Instant, took: Duration },
    Queue { name: &'static str, len: usize, at: Instant },
    Slot { id: usize, from: Option<&'static str>, to: Option<&'static str>, at: Instant },
    End { whole: Sender<io::Result<()>> },
}

impl Trace {
    /// Records nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Records into `path`.
    ///
    /// # Errors
    /// If it is there already or cannot be created, or a thread cannot be started.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let mut writer = Writer {
            file: BufWriter::new(File::create_new(path)?),
            began: Instant::now(),
            lanes: HashMap::new(),
            others: HashMap::new(),
        };
        writer.file.write_all(b"[\n")?;
        let (events, received) = bounded(EVENTS_MAX);
        let writer = Joined::spawn("trace", move || writer.run(&received))?;
        Ok(Self(Some(Arc::new(Inner { events, _writer: writer }))))
    }

    /// `name` went on in this thread from `began` until now.
    pub fn span(&self, name: &'static str, began: Instant) {
        self.send(|| {
            let thread = std::thread::current();
            Event::Span { thread, name, began, took: began.elapsed() }
        });
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `name` went on for so long in something that is no thread, as a stream of a device.
    pub fn lane(&self, lane: &str, name: &'static str, began: Instant, took: Duration) {
        self.send(|| Event::Lane { lane: lane.to_owned(), name, began, took });
    }

    /// The queue `name` has `len` items from now on.
    pub fn queue(&self, name: &'static str, len: usize) {
        self.send(|| Event::Queue { name, len, at: Instant::now() });
    }

    /// Slot `id` goes from one state to another; `None` is at home.
    pub(crate) fn slot(&self, id: usize, from: Option<&'static str>, to: Option<&'static str>) {
        self.send(|| Event::Slot { id, from, to, at: Instant::now() });
    }

    /// Ends the file; what comes later is not recorded.
    ///
    /// # Errors
    /// If something could not be written.
    pub fn finish(&self) -> io::Result<()> {
        let (whole, answer) = bounded(1);
        self.send(|| Event::End { whole });
        // No answer: there is no file, or it has ended before.
        answer.recv().unwrap_or(Ok(()))
    }

    fn send(&self, event: impl FnOnce() -> Event) {
        if let Some(inner) = &self.0 {
            let _ = inner.events.send(event()); // an error means that the file has ended
        }
    }
}

/// The actor that owns the file.
struct Writer {
    file: BufWriter<File>,
    began: Instant,
    /// Threads are numbered as they first show up.
    lanes: HashMap<ThreadId, usize>,
    /// And so is what is no thread.
    others: HashMap<String, usize>,
}

impl Writer {
    fn run(mut self, events: &Receiver<Event>) {
        let mut written = Ok(());
        while let Ok(event) = events.recv() {
            if let Event::End { whole } = event {
                let ended = written.and_then(|()| self.end());
                let _ = whole.send(ended); // who asked waits for it
                return;
            }
            if written.is_ok() {
                written = self.write(&event);
            }
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Span { thread, name, began, took } => {
                let lane = self.lane(thread)?;
                self.write_span(lane, name, *began, *took)
            }
            Event::Lane { lane, name, began, took } => {
                let lane = self.other(lane)?;
                self.write_span(lane, name, *began, *took)
            }
            Event::Queue { name, len, at } => {
                let ts = self.us(*at);
                writeln!(
                    self.file,
                    r#"{{"ph":"C","pid":1,"name":"{name}","ts":{ts:.3},"args":{{"items":{len}}}}},"#
                )
            }
            Event::Slot { id, from, to, at } => {
                let ts = self.us(*at);
                for (phase, state) in [("e", from), ("b", to)] {
                    if let Some(state) = state {
                        writeln!(
                            self.file,
                            r#"{{"ph":"{phase}","pid":1,"tid":0,"cat":"slot","id":{id},"name":"{state}","ts":{ts:.3}}},"#
                        )?;
                    }
                }
                Ok(())
            }
            Event::End { .. } => Ok(()),
        }
    }

    /// The format wants no comma after the last event; so the last one is always this.
    fn end(&mut self) -> io::Result<()> {
        let name = r#"{"ph":"M","pid":1,"name":"process_name","args":{"name":"alexnet"}}"#;
        writeln!(self.file, "{name}\n]")?;
        self.file.flush()
    }

    /// A thread's number, which is written with its name if it is new.
    fn lane(&mut self, thread: &Thread) -> io::Result<usize> {
        let next = self.next_lane();
        if let Some(lane) = self.lanes.get(&thread.id()) {
            return Ok(*lane);
        }
        self.lanes.insert(thread.id(), next);
        self.name_lane(next, thread.name().unwrap_or("unnamed"))
    }

    /// The same of what is no thread.
    fn other(&mut self, name: &str) -> io::Result<usize> {
        let next = self.next_lane();
        if let Some(lane) = self.others.get(name) {
            return Ok(*lane);
        }
        self.others.insert(name.to_owned(), next);
        self.name_lane(next, name)
    }

    fn next_lane(&self) -> usize {
        self.lanes.len() + self.others.len() + 1
    }

    fn name_lane(&mut self, lane: usize, name: &str) -> io::Result<usize> {
        let name = serde_json::json!(name);
        writeln!(
            self.file,
            r#"{{"ph":"M","pid":1,"tid":{lane},"name":"thread_name","args":{{"name":{name}}}}},"#
        )?;
        Ok(lane)
    }

    fn write_span(
        &mut self, lane: usize, name: &str, began: Instant, took: Duration,
    ) -> io::Result<()> {
        let (ts, dur) = (self.us(began), took.as_secs_f64() * 1e6);
        writeln!(
            self.file,
            r#"{{"ph":"X","pid":1,"tid":{lane},"name":"{name}","ts":{ts:.3},"dur":{dur:.3}}},"#
        )
    }

    /// Microseconds since the timeline began.
    fn us(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64() * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_json_that_names_threads_queues_and_slots() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("trace.json");
        let trace = Trace::to_file(&path).expect("room");
        let body = {
            let trace = trace.clone();
            move || trace.span("decode", Instant::now())
        };
        std::thread::Builder::new()
            .name("data-0".into())
            .spawn(body)
            .expect("one")
            .join()
            .expect("ended");
        trace.queue("tasks", 3);
        trace.lane("gpu", "copy", Instant::now(), Duration::from_millis(2));
        trace.slot(1, None, Some("filling"));
        trace.slot(1, Some("filling"), None);
        trace.finish().expect("room");
        trace.queue("tasks", 4); // too late: not written
        let text = std::fs::read_to_string(&path).expect("written");
        let events: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        let phases: Vec<_> =
            events.iter().map(|event| event["ph"].as_str().expect("one")).collect();
        assert_eq!(phases, ["M", "X", "C", "M", "X", "b", "e", "M"]);
        assert_eq!(events[0]["args"]["name"], "data-0");
        assert_eq!(
            (&events[1]["name"], &events[1]["tid"]),
            (&"decode".into(), &events[0]["tid"])
        );
        assert_eq!(events[2]["args"]["items"], 3);
        assert_eq!(events[3]["args"]["name"], "gpu");
        assert_eq!(
            (&events[4]["tid"], &events[4]["dur"]),
            (&events[3]["tid"], &serde_json::json!(2000.0))
        );
    }

    #[test]
    fn without_a_file_nothing_is_recorded() {
        let trace = Trace::off();
        trace.span("decode", Instant::now());
        trace.finish().expect("nothing to write");
    }
}
