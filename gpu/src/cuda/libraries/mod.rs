//! NVIDIA's own libraries, which nothing here needs: cuDNN for the convolutions and cuBLAS for the linear
//! layers, where the system has them and they compute what our kernels do.
//!
//! They are found at run time. What they are to make is planned before the first batch: of a pass's algorithms
//! only those that always give the same bits, with all memory they will need. Each is tried beside our own
//! kernel on made-up numbers, and is left out if it makes anything else. Then a call of a library is
//! put on a stream like a launch, and captured like one.
//!
//! A linear layer's update stays ours: a library would have to write its gradient, which is as large as the
//! weights, and we would have to read it again.
//!
//! Our own kernels have several tiles, and that is planned here, too: where ways are timed, by each of them, whether
//! there is a library or not.
//!
//! They multiply the run's numbers; of halves, the gradient of a convolution's weights stays ours. `ALEXNET_LIBRARIES=off` leaves them out; `auto`, as without it, takes those that are found.

mod load;
mod cudnn;
mod shapes;
mod cublas;
mod call;
mod product;
mod tuning;
mod check;
mod plan;
mod products;

pub use load::{Absent, Library, look};
pub use tuning::{Timed, Tuning};

pub(super) use call::{Call, Refused};
pub(super) use product::Product;

use self::{cublas::Cublas, cudnn::Cudnn, plan::Planned};
use super::{
    context::{Context, Stream},
    launch::Ptr,
    memory::Memory,
    numbers::Numbers,
    tile::Tile,
};
use crate::{device::Demand, ops::conv};
use std::sync::Arc;

/// Workspace that an algorithm may take.
const WORKSPACE_BYTES_MAX: usize = 128 << 20;
/// Where the workspace begins behind packed weights.
const ALIGNMENT: usize = 256;

/// What a GPU has of them.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    /// The CUDA version of the driver.
    driver: i32,
    wanted: bool,
    cudnn: Option<Cudnn>,
    cublas: Option<Cublas>,
    plans: Vec<Planned>,
    /// Of our own kernels, where another one was faster than the one that is taken by itself.
    tiles: Vec<(Product, Tile)>,
    room: Option<Room>,
    /// Where the fastest ways are kept, if they are.
    pub(super) tuning: Option<Tuning>,
}

/// Memory that they need beside buffers.
#[derive(Debug)]
struct Room {
    memory: Memory,
    /// Of one source's weights, by themselves; behind them lies the workspace.
    weights_bytes: usize,
}

impl Room {
    fn weights(&self) -> Ptr {
        self.memory.ptr()
    }

    fn workspace(&self) -> Ptr {
        self.memory.ptr().offset::<u8>(self.weights_bytes)
    }
}

impl Libraries {
    /// Those that a driver for CUDA `driver` takes, not opened yet; none if they are not wanted.
    pub(super) fn new(driver: i32, wanted: bool) -> Self {
        Self { driver, wanted, ..Self::default() }
    }

    /// Their versions, for the log; nothing if there are none.
    pub(super) fn describe(&self) -> String {
        if !self.wanted {
            return String::new();
        }
        let versions = [
            load::cudnn().map(|library| library.version.as_str()),
            load::cublas(self.driver).map(|library| library.version.as_str()),
        ];
        let versions: Vec<&str> = versions.into_iter().flatten().collect();
        versions.iter().flat_map(|version| [", ", version]).collect()
    }

    /// Bytes that they take for `demand`, at most, beside what they keep for themselves.
    pub(super) fn room_bytes(&self, demand: &Demand) -> usize {
        if !self.wanted {
            return 0;
        }
        let convs = load::cudnn().is_ok() && !demand.convs.is_empty();
        let of_convs = if convs { weights_bytes(demand) + WORKSPACE_BYTES_MAX } else { 0 };
        let linears = load::cublas(self.driver).is_ok();
        of_convs + if linears { cublas::WORKSPACE_BYTES } else { 0 }
    }

    /// Opens those that were found; tells of those that were, and cannot be used.
    fn open(
        &mut self, context: &Arc<Context>, stream: &Stream, numbers: Numbers,
    ) -> Vec<String> {
        let mut remarks = vec![];
        if !self.wanted {
            return remarks;
        }
        let mut refuse = |name: &str, why: String| {
            remarks.push(format!("{name} is there and cannot be used: {why}"));
        };
        match load::cudnn() {
            Ok(loaded) if self.cudnn.is_none() => {
                match Cudnn::open(loaded, context, stream, numbers) {
                    Ok(cudnn) => self.cudnn = Some(cudnn),
                    Err(why) => refuse(&loaded.version, why),
                }
            }
            Ok(_) | Err(Absent::NotFound { .. }) => {}
            Err(why) => refuse("cuDNN", why.to_string()),
        }
        match load::cublas(self.driver) {
            Ok(loaded) if self.cublas.is_none() => {
                match Cublas::open(loaded, context, stream, numbers) {
                    Ok(cublas) => self.cublas = Some(cublas),
                    Err(why) => refuse(&loaded.version, why),
                }
            }
            Ok(_) | Err(Absent::NotFound { .. }) => {}
            Err(why) => refuse("cuBLAS", why.to_string()),
        }
        remarks
    }
}

/// Bytes of the weights that a convolution reads by themselves: those of pictures, packed, and one source's
/// of several.
fn weights_bytes(demand: &Demand) -> usize {
    let first = demand.convs.first().map_or(0, conv::cuda::packed_w_bytes);
    let sources = demand.convs.iter().map(|op| product::bare(op).w_len() * size_of::<f32>());
    sources.fold(first, usize::max).next_multiple_of(ALIGNMENT)
}
