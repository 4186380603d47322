//! A stand-in for the part of `libcuda.so` that `gpu` calls, for tests: emulated GPUs, whose kernels
//! `hostemu` runs on the CPU. A program finds it as `libcuda.so` in a folder on `LD_LIBRARY_PATH`.
//!
//! Streams are threads, each with delays of its own, so that what is not ordered by an event happens in
//! any order. Memory that nothing has written holds what is not a number, and ends at a page that
//! nobody may touch. Copies are held to the allocations that they name. An image is a cubin or PTX, for this
//! GPU and driver; its code is not run, but its kernels and their parameters must be those of `hostemu`,
//! which are. Errors stick to a context, as a GPU's do.
//!
//! The environment says what there is and what goes wrong:
//!
//! | variable | what | default |
//! |---|---|---|
//! | `EMUCUDA_DEVICES` | GPUs | 2 |
//! | `EMUCUDA_MEMORY_MIB` | memory of each | 2048 |
//! | `EMUCUDA_DRIVER` | what `cuDriverGetVersion` says | 12090 |
//! | `EMUCUDA_CAPABILITY` | compute capability | 8.0 |
//! | `EMUCUDA_PEERS` | 0: GPUs do not reach one another; 2: they say so, and refuse | 1 |
//! | `EMUCUDA_PIN_BYTES_MAX` | longest host memory that can be pinned | any |
//! | `EMUCUDA_JITTER_US` | longest delay before whatever a stream does | 200 |
//! | `EMUCUDA_SEED` | of the delays | 1 |
//! | `EMUCUDA_LOSE` | `D:N`, GPU D is lost at its launch N, from 0 | |
//! | `EMUCUDA_STICK` | `D:N`, GPU D hangs at its launch N | |
//! | `EMUCUDA_FULL` | `N`, allocation N on GPUs, from 0, and all later ones find no room | |
//! | `EMUCUDA_GRAPHS` | 0: what was captured is not taken as a graph | 1 |
//! | `EMUCUDA_CALLS` | a file that tells, in the end, how often each function was called | |
//! | `EMUCUDA_CUDNN` | what `cudnnGetVersion` says | 92100 |
//! | `EMUCUDA_LIBRARY` | `FAULT:PART`, see below | |
//! | `EMUCUDA_DROP_WAITS` | `A<B`, streams A do not wait for streams B, and that of GPU 0 is slow | |
//!
//! The same file stands in for `libcudnn.so.9` and `libcublas.so.12` where it is found under these names: for
//! what `gpu` calls of them, with the true results. They refuse what would be an error, and what would be
//! another rounding, or other bits from time to time; workspaces are spoilt. Their faults: `wrong`, `none` (no
//! algorithm), `hungry` (no workspace is enough) and `refuse`, of `forward`, `data`, `weight`, `gemm`; `closed`,
//! of `cudnn` and `cublas`.
//!
//! What it cannot see: speed, the memory model, the driver's own compiler, graphs across streams, and what the
//! true libraries refuse or round.

/// Whether kernels can be run here.
pub const AVAILABLE: bool = hostemu::AVAILABLE;

mod settings;
mod calls;
mod status;
mod memory;
mod context;
mod stream;
mod image;
mod module;
mod api_device;
mod api_memory;
mod api_stream;
mod api_module;
mod kind;
mod operands;
mod convolution;
mod cudnn;
mod api_cudnn;
mod cublas;
