//! NVIDIA's libraries where the system has them: found, held to what is called of them, and kept until the
//! process ends.

use super::{cublas, cudnn};
use libloading::Library as File;
use std::{
    ffi::{c_int, c_void},
    sync::OnceLock,
};

/// cuDNN's file: its major version is part of the name.
const CUDNN: &str = "libcudnn.so.9";
/// The oldest cuDNN whose functions are called as here, as `cudnnGetVersion` counts.
const CUDNN_OLDEST: usize = 90_000;
/// cuBLAS's files, newest first, and the oldest CUDA version of a driver for each.
const CUBLAS: [(&str, i32); 2] = [("libcublas.so.13", 13_000), ("libcublas.so.12", 12_000)];

/// What a function of either returns; 0 is success.
pub(super) type Status = c_int;
/// A handle of either.
pub(super) type Opaque = *mut c_void;

/// Why a library is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// It cannot be loaded; mostly, there is none.
    #[error("not found ({reason})")]
    NotFound {
        /// What the loader said.
        reason: String,
    },
    /// It is something else than it is called.
    #[error("{file} has no {symbol}")]
    Lacks {
        /// Its file.
        file: &'static str,
        /// The function.
        symbol: &'static str,
    },
    /// It is too old.
    #[error("{found} is too old: {needed} is needed")]
    Old {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
}

/// Declares a table of a library's functions, which is filled at run time.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($name:ident($($arg:ty),* $(,)?) -> $result:ty;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[expect(non_snake_case, reason = "NVIDIA's names")]
        pub(super) struct $table {
            $(pub(super) $name: unsafe extern "C" fn($($arg),*) -> $result,)*
        }

        impl $table {
            /// Looks for each.
            pub(super) fn of(
                library: &libloading::Library, file: &'static str,
            ) -> Result<Self, $crate::cuda::libraries::load::Absent> {
                Ok(Self {$(
                    $name: {
                        let name = concat!(stringify!($name), "\0").as_bytes();
                        let symbol = stringify!($name);
                        // SAFETY: the function is declared as in the library's public header, which all
                        // versions of its major one keep.
                        let found = unsafe {
                            library.get::<unsafe extern "C" fn($($arg),*) -> $result>(name)
                        };
                        let lacks =
                            |_| $crate::cuda::libraries::load::Absent::Lacks { file, symbol };
                        *found.map_err(lacks)?
                    },
                )*})
            }
        }

        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($table)).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use functions;

/// A library that can be called.
#[derive(Debug)]
pub(super) struct Loaded<F> {
    pub(super) functions: F,
    pub(super) file: &'static str,
    /// As people write it.
    pub(super) version: String,
    /// What the functions lie in.
    _file: File,
}

fn open(file: &'static str) -> Result<File, Absent> {
    // SAFETY: loads NVIDIA's library, whose initialisers are the system's own.
    let opened = unsafe { File::new(file) };
    opened.map_err(|error| Absent::NotFound { reason: error.to_string() })
}

/// cuDNN, loaded once.
pub(super) fn cudnn() -> Result<&'static Loaded<cudnn::Functions>, &'static Absent> {
    static CUDNN: OnceLock<Result<Loaded<cudnn::Functions>, Absent>> = OnceLock::new();
    CUDNN.get_or_init(load_cudnn).as_ref()
}

fn load_cudnn() -> Result<Loaded<cudnn::Functions>, Absent> {
    let library = open(CUDNN)?;
    let functions = cudnn::Functions::of(&library, CUDNN)?;
    // SAFETY: takes nothing and returns a number.
    let number = unsafe { (functions.cudnnGetVersion)() };
    let version = |number: usize| match number {
        // Until 8, the major version had one digit less before it.
        ..90_000 => format!("cuDNN {}.{}.{}", number / 1000, number / 100 % 10, number % 100),
        _ => format!("cuDNN {}.{}.{}", number / 10_000, number / 100 % 100, number % 100),
    };
    if number < CUDNN_OLDEST {
        return Err(Absent::Old { found: version(number), needed: version(CUDNN_OLDEST) });
    }
    Ok(Loaded { functions, file: CUDNN, version: version(number), _file: library })
}

/// cuBLAS, loaded once: the newest that a driver for CUDA `driver` takes.
pub(super) fn cublas(
    driver: i32,
) -> Result<&'static Loaded<cublas::Functions>, &'static Absent> {
    static CUBLAS: OnceLock<Result<Loaded<cublas::Functions>, Absent>> = OnceLock::new();
    CUBLAS.get_or_init(|| load_cublas(driver)).as_ref()
}

fn load_cublas(driver: i32) -> Result<Loaded<cublas::Functions>, Absent> {
    let mut files = CUBLAS.into_iter().filter(|(_, oldest)| *oldest <= driver);
    let opened = files.find_map(|(file, _)| open(file).ok().map(|library| (file, library)));
    let oldest = CUBLAS[CUBLAS.len() - 1].0;
    let (file, library) = match opened {
        Some(opened) => opened,
        None => (oldest, open(oldest)?),
    };
    let functions = cublas::Functions::of(&library, file)?;
    let part = |which: c_int| {
        let mut value = 0;
        // SAFETY: writes one integer to where it is told.
        unsafe { (functions.cublasGetProperty)(which, &raw mut value) };
        value
    };
    let version = |[major, minor, patch]: [c_int; 3]| format!("cuBLAS {major}.{minor}.{patch}");
    let found = [0, 1, 2].map(part);
    if found[0] < 12 {
        return Err(Absent::Old { found: version(found), needed: version([12, 0, 0]) });
    }
    Ok(Loaded { functions, file, version: version(found), _file: library })
}

/// A library, as `alexnet doctor` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: &'static str,
    /// Its file's.
    pub file: &'static str,
    /// Its version, or why it is not used.
    pub found: Result<String, Absent>,
}

/// Looks for each, beside a driver for CUDA `driver`.
pub fn look(driver: i32) -> [Library; 2] {
    let (cudnn, cublas) = (cudnn(), cublas(driver));
    [
        Library {
            name: "cuDNN",
            file: cudnn.map_or(CUDNN, |library| library.file),
            found: cudnn.map(|library| library.version.clone()).map_err(Absent::clone),
        },
        Library {
            name: "cuBLAS",
            file: cublas.map_or(CUBLAS[CUBLAS.len() - 1].0, |library| library.file),
            found: cublas.map(|library| library.version.clone()).map_err(Absent::clone),
        },
    ]
}
