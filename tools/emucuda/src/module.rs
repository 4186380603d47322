//! Modules: the kernels of a PTX image, each held to its build for the CPU, and their launches.

use crate::{
    context::Context,
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
    /// Reads PTX. Every kernel must have a build for the CPU, with parameters of the same sizes.
    pub(crate) fn load(text: &str) -> Result<Self, Status> {
        let refuse = |what: &str| {
            tell(what);
            INVALID_IMAGE
        };
        if !text.contains(".version") {
            return Err(refuse("no PTX: the emulation loads nothing else"));
        }
        let mut functions = HashMap::new();
        for entry in text.split(".entry ").skip(1) {
            let (name, sizes) = signature(entry)
                .ok_or_else(|| refuse("an entry whose parameters cannot be read"))?;
            match hostemu::parameter_sizes(&name) {
                None => return Err(refuse(&format!("{name} has no build for the CPU"))),
                Some(built) if built != sizes => {
                    return Err(refuse(&format!(
                        "{name} takes {sizes:?} bytes in PTX and {built:?} on the CPU"
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

/// The name and the sizes of the parameters of `NAME( .param .u64 a, .param .align 8 .b8 b[44] ) ...`.
fn signature(entry: &str) -> Option<(String, Vec<usize>)> {
    let (name, rest) = entry.split_once('(')?;
    let parameters = rest.split(')').next()?;
    let size = |parameter: &str| -> Option<usize> {
        let bits = parameter.split_whitespace().find_map(|word| {
            let kind = word.strip_prefix('.')?;
            let bits = kind.strip_prefix(['b', 'u', 's', 'f'])?;
            bits.parse::<usize>().ok()
        })?;
        let count = parameter.rsplit_once('[').map_or(Some(1), |(_, count)| {
            count.trim().trim_end_matches(']').trim_end().parse().ok()
        })?;
        Some(bits / 8 * count)
    };
    let parameters = parameters.split(',').filter(|parameter| parameter.contains(".param"));
    Some((name.trim().to_owned(), parameters.map(size).collect::<Option<_>>()?))
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
        let how = How::default();
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
    fn signatures_are_read_as_nvrtc_writes_them() {
        let entry = "scale(\n\t.param .u64 scale_param_0,\n\t.param .align 8 .b8 scale_param_1[44],\n\t\
                     .param .f32 scale_param_2\n)\n{ ret; }";
        assert_eq!(signature(entry), Some(("scale".into(), vec![8, 44, 4])));
        assert_eq!(signature("none()\n{}"), Some(("none".into(), vec![])));
        let entry = "ptr(.param .u64 .ptr .align 1 ptr_param_0)";
        assert_eq!(signature(entry), Some(("ptr".into(), vec![8])));
    }

    #[test]
    fn what_is_no_ptx_or_has_other_kernels_is_refused() {
        assert_eq!(Module::load("\u{7f}ELF").err(), Some(INVALID_IMAGE));
        let unknown = ".version 8.4 .visible .entry no_such_kernel(.param .u64 a)";
        assert_eq!(Module::load(unknown).err(), Some(INVALID_IMAGE));
    }
}
