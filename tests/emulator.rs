//! The built program on emulated GPUs: `tools/emucuda` in the place of the driver.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A folder where the program finds the emulated driver.
pub(crate) struct Emulator {
    folder: TempDir,
}

impl Emulator {
    /// `None`, with the reason, where kernels cannot be emulated.
    #[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
    pub(crate) fn find() -> Option<Self> {
        if !emucuda::AVAILABLE {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI emulates GPUs: it takes a C++ compiler and x86-64 Linux"
            );
            eprintln!("SKIP: no C++ compiler, so that kernels are not emulated");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        symlink(library(), folder.path().join("libcuda.so")).expect("a link");
        Some(Self { folder })
    }

    /// The same with stand-ins for cuDNN and cuBLAS.
    pub(crate) fn with_libraries() -> Option<Self> {
        let emulator = Self::find()?;
        for name in ["libcudnn.so.9", "libcublas.so.12"] {
            emulator.link(name, &library());
        }
        Some(emulator)
    }

    /// Has the program find `file` under the name `name`.
    pub(crate) fn link(&self, name: &str, file: &Path) {
        let link = self.folder.path().join(name);
        let _ = std::fs::remove_file(&link); // if there is one
        symlink(file, link).expect("a link");
    }

    /// Has `command` find emulated GPUs, as `settings` say: names without `EMUCUDA_`, and values.
    pub(crate) fn on<'a>(
        &self, command: &'a mut Command, settings: &[(&str, &str)],
    ) -> &'a mut Command {
        command.env("LD_LIBRARY_PATH", self.folder.path()).env("ALEXNET_KERNELS", "ptx");
        // The system's own, if it has any, do not know emulated GPUs.
        let own = self.folder.path().join("libcudnn.so.9").exists();
        command.env("ALEXNET_LIBRARIES", if own { "auto" } else { "off" });
        for (name, value) in settings {
            command.env(format!("EMUCUDA_{name}"), value);
        }
        command
    }
}

/// Cargo builds it for this test, as a dependency of the package.
fn library() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_alexnet")).parent().expect("a folder");
    let name = "libemucuda.so";
    let found = [built.join("deps").join(name), built.join(name)];
    found.into_iter().find(|path| path.exists()).expect("a dependency of this test")
}
