//! What there is: a driver, GPUs, and whether this program can use them. Nothing here fails where
//! there is no CUDA, and nothing else of this folder may be called before it has said that there is.

use super::{
    images::{Capability, OLDEST},
    numbers::{Numbers, TF32_FROM},
};
use cudarc::driver::{
    DriverError, result,
    sys::{self, CUdevice_attribute as Attribute, CUresult},
};

/// The oldest driver that takes what the kernels were made with, as `cuDriverGetVersion` counts: CUDA
/// 12.0, which came with driver 525.
pub const DRIVER_MIN: i32 = 12_000;

/// The oldest driver that compiles the kernels' PTX, likewise: CUDA 12.4, which came with driver 550.
pub const PTX_DRIVER_MIN: i32 = 12_040;

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as `--gpus` and `CUDA_VISIBLE_DEVICES` count.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: Capability,
    /// Its memory in bytes.
    pub memory_bytes: usize,
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Their highest clock, kHz; 0 if the driver does not tell.
    pub clock_khz: usize,
    /// Its memory's highest clock, kHz, likewise.
    pub memory_clock_khz: usize,
    /// Bits that its memory hands over at once, likewise.
    pub memory_bits: usize,
}

/// Peaks as the vendor states them: `docs/gpu-roofline.py` has the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DataSheet {
    /// What the name of such a GPU has in it, all of it.
    names: &'static [&'static str],
    /// Of `f32`, in 10^12 operations a second.
    pub f32_tflops: f64,
    /// Of halves on its tensor cores, likewise; of tf32, half as much from compute capability 8.0 on.
    pub halves_tflops: f64,
    /// Of its memory, in 10^9 bytes a second.
    pub gbps: f64,
}

/// GPUs whose peaks are known.
pub const DATA_SHEETS: [DataSheet; 5] = [
    DataSheet { names: &["V100", "32GB"], f32_tflops: 15.7, halves_tflops: 125.0, gbps: 900.0 },
    DataSheet {
        names: &["A100", "40GB"],
        f32_tflops: 19.5,
        halves_tflops: 312.0,
        gbps: 1555.0,
    },
    DataSheet { names: &["RTX 3090"], f32_tflops: 35.6, halves_tflops: 71.0, gbps: 936.0 },
    DataSheet { names: &["RTX 4090"], f32_tflops: 82.6, halves_tflops: 165.2, gbps: 1008.0 },
    DataSheet {
        names: &["H100", "HBM3"],
        f32_tflops: 66.9,
        halves_tflops: 989.4,
        gbps: 3350.0,
    },
];

impl Gpu {
    /// The vendor's peaks, if they are known: not of variants of the same name.
    pub fn data_sheet(&self) -> Option<&'static DataSheet> {
        let variant = self.name.ends_with(" Ti") || self.name.ends_with(" D");
        let fits = |sheet: &&DataSheet| sheet.names.iter().all(|name| self.name.contains(name));
        DATA_SHEETS.iter().filter(|_| !variant).find(fits)
    }

    /// Single-precision operations a second of its multiply-adds, in 10^9, two operations each: the
    /// vendor's figure, or what its clock gives.
    pub fn peak_gflops(&self) -> f64 {
        if let Some(sheet) = self.data_sheet() {
            return sheet.f32_tflops * 1e3;
        }
        // Lanes of a multiprocessor, by the compute capability: CUDA's programming guide, "arithmetic
        // instructions".
        let lanes = match self.capability {
            (7, _) | (8, 0) => 64,
            _ => 128,
        };
        (2 * lanes * self.multiprocessors * self.clock_khz) as f64 * 1e-6
    }

    /// The same of products of `numbers` by our own kernels: on tensor cores, where these multiply them. Libraries have tensor
    /// cores before compute capability 8.0, too, and may be faster there.
    pub fn product_peak_gflops(&self, numbers: Numbers) -> f64 {
        let halves_in_tf32 = match numbers {
            Numbers::Tf32 => 1.0,
            Numbers::Bf16 | Numbers::F16 if self.capability >= TF32_FROM => 2.0,
            Numbers::F32 | Numbers::Bf16 | Numbers::F16 => return self.peak_gflops(),
        };
        let tf32 = self.data_sheet().map_or_else(
            || {
                // Multiply-adds of a multiprocessor in a clock, likewise.
                let lanes = match self.capability {
                    (8, 0) => 512,
                    (9, _) => 1024,
                    (10, _) => 2048,
                    _ => 128,
                };
                (2 * lanes * self.multiprocessors * self.clock_khz) as f64 * 1e-6
            },
            |sheet| sheet.halves_tflops * 0.5e3,
        );
        halves_in_tf32 * tf32
    }

    /// Bytes a second of its memory, in 10^9: likewise, at two transfers a clock.
    pub fn peak_gbps(&self) -> f64 {
        if let Some(sheet) = self.data_sheet() {
            return sheet.gbps;
        }
        (2 * self.memory_clock_khz * self.memory_bits / 8) as f64 * 1e-6
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The CUDA version of the driver, as 12040.
    pub driver: i32,
    /// The GPUs, at least one.
    pub gpus: Vec<Gpu>,
}

/// Why there is no GPU to compute on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// No libcuda.
    #[error("there is no NVIDIA driver: libcuda.so cannot be loaded")]
    NoDriver,
    /// A driver without a GPU.
    #[error("the NVIDIA driver finds no GPU ({reason})")]
    NoDevice {
        /// What the driver said.
        reason: String,
    },
    /// A driver that does not take our kernels.
    #[error("the NVIDIA driver is for CUDA {}, and the kernels need {}", version(*found), version(DRIVER_MIN))]
    OldDriver {
        /// Its version.
        found: i32,
    },
    /// A driver that does not compile our kernels, which are asked for as PTX or are in no other form for this GPU.
    #[error(
        "the NVIDIA driver is for CUDA {}, and to compile the kernels' PTX takes {}",
        version(*found), version(PTX_DRIVER_MIN)
    )]
    OldDriverForPtx {
        /// Its version.
        found: i32,
    },
    /// A GPU that our kernels are not made for.
    #[error(
        "GPU {index}, {name}, has compute capability {}.{}, and the kernels need {}.{}",
        capability.0, capability.1, OLDEST.0, OLDEST.1
    )]
    OldDevice {
        /// Its number.
        index: usize,
        /// Its name.
        name: String,
        /// Its compute capability.
        capability: Capability,
    },
    /// A number that no GPU has.
    #[error("there is no GPU {index}: the driver finds {count}, numbered from 0")]
    NoSuch {
        /// The number.
        index: usize,
        /// GPUs that there are.
        count: usize,
    },
    /// The driver refused to tell.
    #[error("the NVIDIA driver failed: {reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
}

impl Found {
    /// GPU `index`, if the kernels are made for it.
    ///
    /// # Errors
    /// If there is no such GPU, or it is too old.
    pub fn usable(&self, index: usize) -> Result<&Gpu, Unusable> {
        let count = self.gpus.len();
        let gpu = self.gpus.get(index).ok_or(Unusable::NoSuch { index, count })?;
        if gpu.capability < OLDEST {
            let (name, capability) = (gpu.name.clone(), gpu.capability);
            return Err(Unusable::OldDevice { index, name, capability });
        }
        Ok(gpu)
    }
}

/// A CUDA version as people write it.
pub fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// What the driver calls an error, and its words for it.
pub(super) fn says(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("error {}", error.0 as u32),
    }
}

/// Looks for a driver and its GPUs.
///
/// # Errors
/// If there is nothing to compute on, and what is missing.
pub fn probe() -> Result<Found, Unusable> {
    // SAFETY: loads the driver's library, whose initialisers are the system's own.
    if !unsafe { sys::is_culib_present() } {
        return Err(Unusable::NoDriver);
    }
    let failed = |error| Unusable::Failed { reason: says(error) };
    let no_device = |error: DriverError| match error.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => Unusable::NoDevice { reason: says(error) },
        _ => failed(error),
    };
    result::init().map_err(no_device)?;
    let mut driver = 0;
    // SAFETY: writes one integer to where it is told.
    unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result().map_err(failed)?;
    if driver < DRIVER_MIN {
        return Err(Unusable::OldDriver { found: driver });
    }
    let count = result::device::get_count().map_err(no_device)?;
    if count == 0 {
        return Err(Unusable::NoDevice { reason: "it counts 0".into() });
    }
    let gpus = (0..count).map(gpu).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Found { driver, gpus })
}

fn gpu(index: i32) -> Result<Gpu, DriverError> {
    let device = result::device::get(index)?;
    // SAFETY: the driver just gave us the device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let known = |which| attribute(which).map_or(0, |value| value as usize);
    Ok(Gpu {
        index: index as usize,
        name: result::device::get_name(device)?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
        ),
        // SAFETY: as above.
        memory_bytes: unsafe { result::device::total_mem(device) }?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?
            as usize,
        clock_khz: known(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock_khz: known(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        memory_bits: known(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_answers_whatever_the_machine_has() {
        match probe() {
            Ok(found) => assert!(!found.gpus.is_empty() && found.driver >= DRIVER_MIN),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn gpus_that_are_missing_or_too_old_are_named() {
        let gpu = |index, capability| Gpu {
            index,
            name: "Some GPU".into(),
            capability,
            memory_bytes: 1 << 30,
            multiprocessors: 108,
            clock_khz: 1_410_000,
            memory_clock_khz: 1_215_000,
            memory_bits: 5120,
        };
        let found = Found { driver: 12_040, gpus: vec![gpu(0, (7, 0)), gpu(1, (6, 1))] };
        assert_eq!(found.usable(0).map(|gpu| gpu.index), Ok(0));
        // An A100's data sheet: 19.5 TFLOP/s and, with 40 GB, 1555 GB/s.
        let a100 = gpu(0, (8, 0));
        assert_eq!((a100.peak_gflops().round(), a100.peak_gbps().round()), (19492.0, 1555.0));
        let tf32 = |gpu: &Gpu| gpu.product_peak_gflops(Numbers::Tf32).round();
        assert_eq!(tf32(&a100), 155_935.0);
        // The sheet itself, where the name says which.
        let named = |name: &str| Gpu { name: name.into(), ..gpu(0, (8, 0)) };
        let known = named("NVIDIA A100-SXM4-40GB");
        assert_eq!((known.peak_gflops(), known.peak_gbps()), (19_500.0, 1555.0));
        assert_eq!((tf32(&known), known.product_peak_gflops(Numbers::Bf16)), (156e3, 312e3));
        let volta = gpu(0, (7, 0));
        assert_eq!(volta.product_peak_gflops(Numbers::Bf16), volta.peak_gflops());
        assert_eq!(named("NVIDIA GeForce RTX 3090 Ti").data_sheet(), None);
        assert_eq!(named("NVIDIA A100-SXM4-80GB").data_sheet(), None);
        let told = [1, 2].map(|i| found.usable(i).expect_err("unusable").to_string());
        assert_eq!(
            told,
            [
                "GPU 1, Some GPU, has compute capability 6.1, and the kernels need 7.0",
                "there is no GPU 2: the driver finds 2, numbered from 0"
            ]
        );
        let old = Unusable::OldDriver { found: 11_080 };
        assert_eq!(
            old.to_string(),
            "the NVIDIA driver is for CUDA 11.8, and the kernels need 12.0"
        );
    }
}
