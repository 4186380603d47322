//! Runs the conductor on a thread, shows its events, and turns Ctrl-C into an orderly stop. The
//! only async file: the data plane knows no tokio runtime.

use crate::{
    event::{Event, Events, Stop},
    exchange::panic_text,
};
use anyhow::{Context as _, Result, anyhow};
use pipeline::thread::Joined;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::{runtime, sync::oneshot};

/// Left at once, by a second Ctrl-C.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Runs `job` on a thread of its own and hands its events to `show`. The first Ctrl-C or
/// termination signal asks the job to stop; the second ends the process.
///
/// # Errors
/// The job's, or its panic.
pub fn supervise<T: Send + 'static>(
    job: impl FnOnce(Events, Stop) -> Result<T> + Send + 'static, mut show: impl FnMut(Event),
) -> Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the supervisor")?;
    let (events, mut heard) = Events::channel();
    let stop = Stop::default();
    let (done, mut result) = oneshot::channel();
    let asked = stop.clone();
    let body = move || {
        let ended = catch_unwind(AssertUnwindSafe(|| job(events, asked)));
        let ended = ended.unwrap_or_else(|panic| {
            Err(anyhow!("a bug in the conductor: {}", panic_text(panic.as_ref())))
        });
        let _ = done.send(ended); // the supervisor waits for it, or has ended the process
    };
    let _conductor = Joined::spawn("conductor", body).context("cannot start the conductor")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen for Ctrl-C")?;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => {
                    if stop.requested() {
                        std::process::exit(EXIT_INTERRUPTED);
                    }
                    stop.request();
                    let text = "finishing the step and writing a checkpoint; \
                                a second Ctrl-C leaves at once";
                    show(Event::Note(text.into()));
                }
                Some(event) = heard.recv() => show(event),
                ended = &mut result => {
                    while let Ok(event) = heard.try_recv() {
                        show(event);
                    }
                    break ended.context("the conductor left without a word")?;
                }
            }
        }
    })
}

/// Ctrl-C, and on Unix the termination signal.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "the Unix version can fail")]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
