//! What goes to stderr: remarks, progress, warnings and the last error, as text or a JSON object a line.

use clap::ValueEnum;
use indicatif::MultiProgress;
use serde_json::json;
use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    sync::{LazyLock, OnceLock},
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How stderr reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line, with `level` and `message`.
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The progress bars; what is logged appears above them.
pub fn bars() -> &'static MultiProgress {
    &BARS
}

/// Writes to stderr, above the bars.
struct Above;

impl io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        std::io::stderr().flush()
    }
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Worth a line.
    Info,
    /// Something to look at.
    Warning,
}

/// Chooses the format, once; warnings of all crates are shown, `RUST_LOG` shows more.
pub fn start(format: LogFormat) {
    let _ = FORMAT.set(format); // a second choice changes nothing
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Above)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(colours()).event_format(Plain).init(),
        LogFormat::Json => log.json().flatten_event(true).without_time().init(),
    }
}

/// Whether stderr shows colours: a terminal, unless `NO_COLOR` is set to something.
pub fn colours() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Whether stderr is for people.
pub fn is_text() -> bool {
    FORMAT.get().is_none_or(|format| *format == LogFormat::Text)
}

/// A remark.
pub fn remark(text: &str) {
    line(Severity::Info, text);
}

/// Something to look at.
pub fn warn(text: &str) {
    line(Severity::Warning, text);
}

/// A line; whether stderr took it. A closed stderr is no reason to stop.
pub fn line(severity: Severity, text: &str) -> bool {
    let text = if is_text() {
        match severity {
            Severity::Info => text.to_owned(),
            Severity::Warning => format!("warning: {text}"),
        }
    } else {
        let level = match severity {
            Severity::Info => "INFO",
            Severity::Warning => "WARN",
        };
        json!({ "level": level, "message": text }).to_string()
    };
    writeln!(Above, "{text}").is_ok()
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
