//! Modules: the kernels of an image, each held to its build for the CPU, and their launches.

use crate::{
    context::Context,
    image::Signature,
    memory::{Place, place},
    settings::settings,
    status::{
        DEVICE_UNAVAILABLE, Done, ILLEGAL_ADDRESS, INVALID_IMAGE, INVALID_VALUE, LAUNCH_FAILED,
        SUCCESS, Status, tell,
    },
    stream::Stream,
};
use hostemu::How;
use std::{
    collections::HashMap,
    ffi::{CString, c_void},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
};

/// The first devices with tensor cores for halves and asynchronous copies: older ones run other kernels.
const CAPABILITY_OF_CORES: (i32, i32) = (8, 0);
/// Dynamic shared memory that a kernel may have without asking for it.
const SHARED_BYTES_FREE: u32 = 48 << 10;

/// A kernel of a module.
#[derive(Debug)]
pub(crate) struct Function {
    name: String,
    sizes: Vec<usize>,
    pub(crate) shared_bytes_max: AtomicU32,
}

/// A loaded image.
#[derive(Debug)]
pub(crate) struct Module {
    functions: HashMap<CString, &'static Function>,
}

impl Module {
    /// Of an image's kernels, each of which must have a build for the CPU with parameters of the same sizes.
    pub(crate) fn of(kernels: Vec<Signature>) -> Result<Self, Status> {
        let refuse = |what: &str| {
            tell(what);
            INVALID_IMAGE
        };
        let mut functions = HashMap::new();
        for (name, sizes) in kernels {
            match hostemu::parameter_sizes(&name) {
                None => return Err(refuse(&format!("{name} has no build for the CPU"))),
                Some(built) if built != sizes => {
                    return Err(refuse(&format!(
                        "{name} takes {sizes:?} bytes in the image and {built:?} on the CPU"
                    )));
                }
                Some(_) => {}
            }
            let key = CString::new(name.clone()).map_err(|_| INVALID_IMAGE)?;
            let shared_bytes_max = AtomicU32::new(SHARED_BYTES_FREE);
            // Functions are handed out as addresses, which no module takes back.
            let function = Box::leak(Box::new(Function { name, sizes, shared_bytes_max }));
            functions.insert(key, &*function);
        }
        Ok(Self { functions })
    }

    /// A kernel by its name.
    pub(crate) fn function(&self, name: &std::ffi::CStr) -> Option<&'static Function> {
        self.functions.get(name).copied()
    }
}

/// Copies of a launch's arguments, each from a word's start.
struct Arguments {
    words: Vec<u64>,
    /// First word and size in bytes of each.
    places: Vec<(usize, usize)>,
}

impl Arguments {
    /// # Safety
    /// `from` are the addresses of as many values, each as long as its size says.
    unsafe fn copy(sizes: &[usize], from: *const *const c_void) -> Self {
        let mut copied = Self { words: vec![], places: vec![] };
        for (i, bytes) in sizes.iter().enumerate() {
            let first = copied.words.len();
            copied.words.resize(first + bytes.div_ceil(8), 0);
            let to = copied.words[first..].as_mut_ptr().cast::<u8>();
            // SAFETY: the caller's promise; there is room for whole words.
            unsafe { (*from.add(i)).cast::<u8>().copy_to_nonoverlapping(to, *bytes) };
            copied.places.push((first, *bytes));
        }
        copied
    }

    /// A word that is an address on a GPU that `context` does not reach.
    fn out_of_reach(&self, context: &Context) -> Option<usize> {
        self.words.iter().find_map(|word| match place(*word as usize, 1) {
            Some(Place::Device(device)) if !context.reaches(device) => Some(device),
            _ => None,
        })
    }
}

/// Puts a launch on a stream.
///
/// # Safety
/// `arguments` are the addresses of the kernel's arguments.
pub(crate) unsafe fn launch(
    function: &'static Function, grid: [u32; 3], threads: [u32; 3], shared_bytes: u32,
    stream: &Stream, arguments: *const *const c_void,
) -> Done {
    let name = &function.name;
    if shared_bytes > function.shared_bytes_max.load(SeqCst) {
        tell(&format!("{name}: {shared_bytes} bytes of shared memory were not asked for"));
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's promise; `load` has held the sizes to the kernel's.
    let arguments = unsafe { Arguments::copy(&function.sizes, arguments) };
    if let Some(device) = arguments.out_of_reach(stream.context) {
        let here = stream.context.device;
        tell(&format!(
            "{name}: an argument points to GPU {device}, out of reach of GPU {here}"
        ));
        return Err(ILLEGAL_ADDRESS);
    }
    let context = stream.context;
    stream.push(Arc::new(move || {
        let number = context.launches.fetch_add(1, SeqCst);
        if settings().lose == Some((context.device, number)) {
            tell(&format!("GPU {} is lost at launch {number}, {name}", context.device));
            return DEVICE_UNAVAILABLE;
        }
        if settings().stick == Some((context.device, number)) {
            tell(&format!("GPU {} hangs at launch {number}, {name}", context.device));
            loop {
                thread::park();
            }
        }
        let mut words = arguments.words.clone();
        let mut addresses: Vec<*mut c_void> = arguments
            .places
            .iter()
            .map(|(first, _)| words[*first..].as_mut_ptr().cast())
            .collect();
        let how = How { old: settings().capability < CAPABILITY_OF_CORES, ..How::default() };
        // SAFETY: as many arguments as parameters, of their sizes; memory stays until its free, which
        // waits for all streams; that nobody else uses it meanwhile is what the tests are about.
        let ran = unsafe {
            hostemu::run(name, grid, threads, shared_bytes, addresses.as_mut_ptr(), how, &[])
        };
        match ran {
            Ok(_) => SUCCESS,
            Err(failure) => {
                tell(&failure.to_string());
                LAUNCH_FAILED
            }
        }
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_other_kernels_is_refused() {
        let unknown = ("no_such_kernel".to_owned(), vec![8]);
        assert_eq!(Module::of(vec![unknown]).err(), Some(INVALID_IMAGE));
    }
}
