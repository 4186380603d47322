//! NVIDIA's own libraries, which nothing here needs: whether the system has them.

/// Libraries that `alexnet doctor` looks for, and their files' names.
const LIBRARIES: [(&str, &str); 2] =
    [("cuDNN", "libcudnn.so.9"), ("cuBLAS", "libcublas.so.12")];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: &'static str,
    /// Its file's.
    pub file: &'static str,
    /// Whether it can be loaded.
    pub found: bool,
}

/// Looks for each.
pub fn look() -> Vec<Library> {
    let look = |(name, file)| {
        // SAFETY: loads NVIDIA's library, whose initialisers are the system's own.
        let found = unsafe { libloading::Library::new(file) }.is_ok();
        Library { name, file, found }
    };
    LIBRARIES.into_iter().map(look).collect()
}
