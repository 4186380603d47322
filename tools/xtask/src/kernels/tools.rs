//! NVRTC, ptxas and nvdisasm from their wheels, each in a folder of its own under `target/kernels`.

use super::told;
use crate::step;
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A wheel.
pub(super) struct Package {
    pub(super) purpose: &'static str,
    /// Name and version, as pip wants them.
    pub(super) name: &'static str,
}

/// NVRTC for the cubins; an older one, whose PTX drivers from 12.4 on understand; ptxas; nvdisasm.
pub(super) const PACKAGES: [Package; 4] = [
    Package { purpose: "compiler of the cubins", name: "nvidia-cuda-nvrtc-cu12==12.9.86" },
    Package { purpose: "compiler of the PTX", name: "nvidia-cuda-nvrtc-cu12==12.4.127" },
    Package { purpose: "assembler", name: "nvidia-cuda-nvcc-cu12==12.9.86" },
    Package { purpose: "disassembler", name: "nvidia-cuda-nvdisasm==13.5.37" },
];

/// What ptxas is told beside the architecture.
pub(super) const ASSEMBLER_FLAGS: [&str; 2] = ["-v", "-O3"];

/// The tools, installed.
pub(super) struct Tools {
    python: PathBuf,
    /// Folders of the libraries.
    pub(super) nvrtc: PathBuf,
    pub(super) old_nvrtc: PathBuf,
    ptxas: PathBuf,
    nvdisasm: PathBuf,
}

impl Tools {
    /// Installs what is not there yet.
    ///
    /// # Errors
    /// If there is no Python with pip, or the wheels cannot be fetched.
    pub(super) fn install() -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| step::root().join("target"), PathBuf::from);
        let root = target.join("kernels");
        let python = root.join("venv/bin/python3");
        if !python.exists() {
            step::tell("--- kernels: a Python environment");
            told(step::command("python3").args(["-m", "venv"]).arg(root.join("venv")))
                .context("python3 with venv and pip is needed")?;
        }
        let folders = PACKAGES.map(|package| root.join(package.name.replace("==", "-")));
        for (package, folder) in PACKAGES.iter().zip(&folders) {
            if folder.exists() {
                continue;
            }
            step::tell(&format!("--- kernels: {}", package.name));
            let unfinished = folder.with_extension("unfinished");
            let mut pip = step::command(&python.to_string_lossy());
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
            told(pip.arg(&unfinished).arg(package.name))
                .with_context(|| format!("cannot install {}", package.name))?;
            fs::rename(&unfinished, folder)?;
        }
        let [nvrtc, old_nvrtc, nvcc, nvdisasm] = folders;
        Ok(Self {
            python,
            nvrtc: nvrtc.join("nvidia/cuda_nvrtc/lib"),
            old_nvrtc: old_nvrtc.join("nvidia/cuda_nvrtc/lib"),
            ptxas: nvcc.join("nvidia/cuda_nvcc/bin/ptxas"),
            nvdisasm: nvdisasm.join("nvidia/cu13/bin/nvdisasm"),
        })
    }

    /// All kernels to PTX.
    pub(super) fn compile(&self, nvrtc: &Path, architecture: u32, ptx: &Path) -> Result<()> {
        let script = step::root().join("gpu/kernels/nvrtc.py");
        let source = step::root().join("gpu/src/cuda/kernels.cu");
        let mut compile = step::command(&self.python.to_string_lossy());
        compile.arg(script).arg(nvrtc).arg(source);
        told(compile.arg(format!("compute_{architecture}")).arg(ptx)).map(drop)
    }

    /// PTX to a cubin; returns what ptxas tells of each kernel.
    pub(super) fn assemble(
        &self, architecture: u32, ptx: &Path, cubin: &Path,
    ) -> Result<String> {
        let mut assemble = step::command(&self.ptxas.to_string_lossy());
        assemble.args(ASSEMBLER_FLAGS).args(["-arch", &format!("sm_{architecture}")]);
        Ok(told(assemble.arg(ptx).arg("-o").arg(cubin))?.1)
    }

    /// The instructions of a cubin.
    pub(super) fn disassemble(&self, cubin: &Path) -> Result<String> {
        Ok(told(step::command(&self.nvdisasm.to_string_lossy()).arg("-c").arg(cubin))?.0)
    }
}
