//! What the user sees on stderr meanwhile: a bar on a terminal, a plain line now and then elsewhere,
//! and remarks above either.

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use pipeline::pack;
use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Stderr, shared between the bar and whoever has something to say.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    terminal: bool,
    colours: bool,
}

impl Screen {
    /// With no bar yet.
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { bars: MultiProgress::new(), terminal, colours }
    }

    /// Sends warnings here, and what a source was found to be; `RUST_LOG` shows more.
    pub(crate) fn log(&self) {
        let screen = self.clone();
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,pipeline::pack=info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || screen.clone())
            .with_ansi(self.colours)
            .log_internal_errors(false) // they would go to the stderr that is closed
            .event_format(Plain)
            .init();
    }

    /// One line. A closed stderr is no reason to stop.
    pub(crate) fn remark(&self, text: &str) {
        let _ = writeln!(self.clone(), "{text}");
    }

    /// Begins something long, such as "packing".
    pub(crate) fn task(&self, what: &'static str) -> Task {
        let bar = self.terminal.then(|| {
            let template = if self.colours {
                "{msg} {wide_bar:.cyan/blue} {human_pos}/{human_len}  {rate}  ETA {eta}"
            } else {
                "{msg} {wide_bar} {human_pos}/{human_len}  {rate}  ETA {eta}"
            };
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.1}/s", state.per_sec()); // a bar that fails is no loss
            };
            let style = ProgressStyle::with_template(template).expect("a sound template");
            let style = style.with_key("rate", rate);
            self.bars.add(ProgressBar::new(0).with_style(style).with_message(what))
        });
        let (began, shown_ms, done) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
        Task { screen: self.clone(), what, bar, began, shown_ms, done }
    }
}

/// Writes above the bar.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Something long that is under way; its bar goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    screen: Screen,
    what: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    /// When the last plain line was shown, since the beginning.
    shown_ms: AtomicU64,
    done: AtomicU64,
}

impl Task {
    /// Takes note of how far it is; called from any thread, after each picture.
    pub(crate) fn show(&self, pack::Progress { done, total }: pack::Progress) {
        let done = self.done.fetch_max(done, Ordering::Relaxed).max(done);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let (now, shown) = (self.began.elapsed(), self.shown_ms.load(Ordering::Relaxed));
        let now_ms = now.as_millis() as u64;
        if now_ms < shown + LINE_EVERY.as_millis() as u64 || done == total {
            return;
        }
        // One of the threads that come here at once speaks for all.
        let ours =
            self.shown_ms.compare_exchange(shown, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if ours.is_ok() {
            self.screen.remark(&line(self.what, done, total, now));
        }
    }

    /// Says how long it took: "packed 1500 images in 0:03".
    pub(crate) fn finish(self, did: &str, of: &str) {
        let (done, took) = (self.done.load(Ordering::Relaxed), self.began.elapsed());
        let (screen, rate) = (self.screen.clone(), rate(done, took));
        drop(self); // the bar goes first
        let clock = clock(took.as_secs_f64());
        screen.remark(&format!("{did} {done} {of} in {clock} ({rate:.1} {of}/s)"));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rate(done: u64, time: Duration) -> f64 {
    done as f64 / time.as_secs_f64().max(1e-3)
}

fn line(what: &str, done: u64, total: u64, time: Duration) -> String {
    let rate = rate(done, time);
    let left = clock((total - done) as f64 / rate.max(1e-9));
    format!("{what} {done}/{total}  {rate:.1}/s  ETA {left}")
}

/// `1:02:03`, `2:03`.
fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    let (hours, minutes, s) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{s:02}") } else { format!("{minutes}:{s:02}") }
}

/// `warning: ...` in place of tracing's ` WARN`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>,
    ) -> fmt::Result {
        match *event.metadata().level() {
            Level::ERROR => out.write_str("error: ")?,
            Level::WARN => out.write_str("warning: ")?,
            _ => {}
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        out.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_tells_rate_and_time_left() {
        let text = line("packing", 1200, 4800, Duration::from_secs(10));
        assert_eq!(text, "packing 1200/4800  120.0/s  ETA 0:30");
        assert_eq!(clock(3723.4), "1:02:03");
    }
}
