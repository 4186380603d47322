//! Runs of launches between two waits, as graphs: the driver takes a whole run in one call.
//!
//! A run is what is launched on a stream while nothing is waited for or recorded. A step has the same runs
//! each time: what changes from step to step lies in the GPU's memory. So a run that comes for the second
//! time, launch by launch the same, is captured; from then on its graph is launched in its place.

use super::{
    context::{Context, Stream},
    launch::Launch,
    libraries::{Call, Libraries, Refused},
    module::Kernels,
};
use cudarc::driver::{DriverError, result, sys};
use std::sync::Arc;

/// Runs that are remembered: a step of training and one of testing have some 20 each.
const RUNS_MAX: usize = 256;
/// Launches that are worth a graph.
const LAUNCHES_MIN: usize = 2;

/// What is put on a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most are launches, and few of either are kept")]
pub(super) enum Work {
    /// A kernel of ours.
    Launch(Launch),
    /// A library's.
    Call(Call),
}

impl Work {
    /// For the timeline and errors.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Launch(launch) => launch.kernel,
            Self::Call(call) => call.name(),
        }
    }
}

/// Who puts it there.
#[derive(Debug)]
pub(super) struct Makers<'a> {
    pub(super) kernels: &'a mut Kernels,
    pub(super) libraries: &'a Libraries,
}

impl Makers<'_> {
    fn make(&mut self, stream: &Stream, work: &Work) -> Result<(), Refused> {
        match work {
            Work::Launch(launch) => Ok(self.kernels.launch(stream, launch)?),
            Work::Call(call) => self.libraries.make(stream, call),
        }
    }
}

/// The launches that were asked for since the last wait, and all runs that were seen before.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    pending: Vec<Work>,
    runs: Vec<Run>,
    /// Why the first run that is no graph is none, until it is told.
    refused: Option<String>,
    /// Whether one was refused before.
    any_refused: bool,
}

#[derive(Debug)]
struct Run {
    launches: Vec<Work>,
    /// Once it has come for the second time, unless the driver refused.
    graph: Option<Result<Graph, Refused>>,
}

impl Graphs {
    /// One more launch, which is made with the run that it belongs to.
    pub(super) fn push(&mut self, launch: &Launch) {
        self.pending.push(Work::Launch(*launch));
    }

    /// The same with a library's call.
    pub(super) fn call(&mut self, call: Call) {
        self.pending.push(Work::Call(call));
    }

    /// The first kernel of the run that is not launched yet.
    pub(super) fn first(&self) -> Option<&'static str> {
        self.pending.first().map(Work::name)
    }

    /// Why the first run that was not taken as a graph was not, once.
    pub(super) fn refused(&mut self) -> Option<String> {
        self.refused.take()
    }

    /// Forgets what was not launched.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    /// Launches the run that ends here; tells which kernel, or all of a graph, could not be.
    pub(super) fn flush(
        &mut self, makers: &mut Makers<'_>, stream: &Stream, context: &Arc<Context>,
    ) -> Result<(), (&'static str, Refused)> {
        let Self { pending, runs, refused, any_refused } = self;
        let known = runs.iter().position(|run| run.launches == *pending);
        if known.is_none() && pending.len() >= LAUNCHES_MIN && runs.len() < RUNS_MAX {
            runs.push(Run { launches: pending.clone(), graph: None });
        }
        let graph = known.and_then(|at| {
            let run = &mut runs[at];
            let capture = || {
                let graph = Graph::capture(pending, makers, stream, context);
                graph.inspect_err(|error| {
                    if !*any_refused {
                        *any_refused = true;
                        *refused = Some(format!("{}: {error}", pending[0].name()));
                    }
                })
            };
            run.graph.get_or_insert_with(capture).as_ref().ok()
        });
        let launched = match graph {
            Some(graph) => {
                graph.launch(stream).map_err(|error| ("launching a graph", error.into()))
            }
            None => pending.iter().try_for_each(|work| {
                makers.make(stream, work).map_err(|error| (work.name(), error))
            }),
        };
        pending.clear();
        launched
    }
}

/// A run that the driver has taken in.
#[derive(Debug)]
struct Graph {
    context: Arc<Context>,
    handle: sys::CUgraphExec,
}

// SAFETY: as for `Context`.
unsafe impl Send for Graph {}

impl Graph {
    /// Captures the launches on `stream`, which makes none of them. All were made before, so that
    /// nothing is loaded meanwhile.
    fn capture(
        launches: &[Work], makers: &mut Makers<'_>, stream: &Stream, context: &Arc<Context>,
    ) -> Result<Self, Refused> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives, and nobody else uses it.
        unsafe { result::stream::begin_capture(stream.handle(), mode) }?;
        let captured = launches.iter().try_for_each(|work| makers.make(stream, work));
        // SAFETY: as above; a capture that has begun is ended in any case.
        let graph = unsafe { result::stream::end_capture(stream.handle()) };
        let graph = match (captured, graph) {
            (Ok(()), graph) => graph?,
            (Err(refused), graph) => {
                // SAFETY: the part that was captured is of no use to anyone.
                let _ = graph.map(|graph| unsafe { result::graph::destroy(graph) });
                return Err(refused);
            }
        };
        // SAFETY: the graph was just captured, and is destroyed once it is taken in.
        let handle =
            unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: as above. It leaks if the driver cannot, which is no reason to do without.
        let _ = unsafe { result::graph::destroy(graph) };
        Ok(Self { context: Arc::clone(context), handle: handle? })
    }

    fn launch(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: both live; the launches' memory does as long as the device.
        unsafe { result::graph::launch(self.handle, stream.handle()) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let handle = self.handle;
        // SAFETY: taken in once, in `capture`.
        self.context.free(|| unsafe { result::graph::exec_destroy(handle) });
    }
}
