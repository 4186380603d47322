//! The kernels as devices load them, embedded: a cubin per architecture, and PTX for what is newer.
//!
//! `cargo xtask kernels` makes them from the `.cu` files; the tools and the hash of the sources are in
//! `gpu/kernels/source.txt`, what each kernel takes in `table.txt`.

use lzma_rust2::LzmaReader;
use std::io::Read as _;

/// A device's compute capability, major and minor.
pub type Capability = (u32, u32);

/// Which images may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A cubin where there is one, else PTX.
    #[default]
    Any,
    /// PTX only, which the driver compiles.
    Ptx,
}

/// An image, unpacked: what `cuModuleLoadData` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// For the log: `sm_80.cubin`, `compute_80.ptx`.
    pub name: &'static str,
    /// A cubin, or PTX and the zero that ends it.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Whether the driver has to compile it.
    pub fn is_ptx(&self) -> bool {
        !self.bytes.starts_with(ELF)
    }
}

/// What a cubin begins with.
const ELF: &[u8] = b"\x7fELF";

struct Packed {
    capability: Capability,
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! packed {
    ($major:literal, $minor:literal, $name:literal) => {
        Packed {
            capability: ($major, $minor),
            name: $name,
            bytes: include_bytes!(concat!("../../kernels/", $name, ".lzma")),
        }
    };
}

/// A cubin runs on devices of its major version from its minor version on.
static CUBINS: [Packed; 8] = [
    packed!(7, 0, "sm_70.cubin"),
    packed!(7, 5, "sm_75.cubin"),
    packed!(8, 0, "sm_80.cubin"),
    packed!(8, 6, "sm_86.cubin"),
    packed!(8, 9, "sm_89.cubin"),
    packed!(9, 0, "sm_90.cubin"),
    packed!(10, 0, "sm_100.cubin"),
    packed!(12, 0, "sm_120.cubin"),
];
/// Modules whose GPU shares the CPU's memory: cubins of their major version are not promised to run on them.
const MODULES: [Capability; 2] = [(8, 7), (10, 1)];
/// PTX runs on all devices from its version on.
static PTX: Packed = packed!(8, 0, "compute_80.ptx");

/// The oldest devices that have an image.
pub const OLDEST: Capability = (7, 0);

/// The image for a device, if there is one: not for those that are older than [`OLDEST`].
pub fn pick(device: Capability, kind: Kind) -> Option<Image> {
    let runs = |packed: &&Packed| {
        let (major, minor) = packed.capability;
        major == device.0 && minor <= device.1
    };
    let any = kind == Kind::Any && !MODULES.contains(&device);
    let cubin = CUBINS.iter().rfind(runs).filter(|_| any);
    cubin.or((PTX.capability <= device).then_some(&PTX)).map(unpack)
}

fn unpack(packed: &Packed) -> Image {
    let mut bytes = Vec::new();
    let reader = LzmaReader::new_mem_limit(packed.bytes, u32::MAX, None);
    let read = reader.and_then(|mut reader| reader.read_to_end(&mut bytes));
    read.expect("images are whole");
    let mut image = Image { name: packed.name, bytes };
    if image.is_ptx() {
        image.bytes.push(0); // it is text
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::probe::PTX_DRIVER_MIN;
    use std::collections::BTreeMap;

    #[test]
    fn the_nearest_cubin_of_the_same_major_version_is_picked() {
        let name = |device| pick(device, Kind::Any).map(|image| image.name);
        assert_eq!(name((7, 0)), Some("sm_70.cubin"));
        assert_eq!(name((7, 2)), Some("sm_70.cubin"));
        assert_eq!(name((8, 6)), Some("sm_86.cubin"));
        assert_eq!(name((8, 7)), Some("compute_80.ptx"));
        assert_eq!(name((12, 1)), Some("sm_120.cubin"));
    }

    #[test]
    fn newer_devices_compile_the_ptx_and_older_ones_have_nothing() {
        let name = |device, kind| pick(device, kind).map(|image| image.name);
        assert_eq!(name((11, 0), Kind::Any), Some("compute_80.ptx"));
        assert_eq!(name((8, 0), Kind::Ptx), Some("compute_80.ptx"));
        assert_eq!(name((7, 5), Kind::Ptx), None);
        assert_eq!(name((6, 1), Kind::Any), None);
        assert!(pick(OLDEST, Kind::Any).is_some());
    }

    #[test]
    fn cubins_are_elf_files_and_the_ptx_ends_with_a_zero() {
        for packed in &CUBINS {
            assert!(!unpack(packed).is_ptx(), "{}", packed.name);
        }
        assert!(unpack(&PTX).is_ptx() && unpack(&PTX).bytes.ends_with(&[0]));
    }

    #[test]
    fn the_oldest_driver_for_ptx_knows_its_version() {
        let text = String::from_utf8(unpack(&PTX).bytes).expect("PTX is text");
        let version = text.split_once(".version ").expect("a version").1;
        // PTX 8.0 came with CUDA 12.0, and so on.
        let (major, minor) =
            version.split_once('\n').expect("a line").0.split_once('.').expect("two");
        let number = |text: &str| text.trim().parse::<i32>().expect("a number");
        assert_eq!((number(major) + 4) * 1000 + number(minor) * 10, PTX_DRIVER_MIN);
    }

    /// Kernels of the PTX and their parameters' sizes.
    fn entries() -> BTreeMap<String, Vec<usize>> {
        let text = String::from_utf8(unpack(&PTX).bytes).expect("PTX is text");
        let entries = text.split(".entry ").skip(1).map(|entry| {
            let (name, rest) = entry.split_once('(').expect("parameters");
            let list = rest.split(')').next().expect("an end").split(',');
            // `.param .u64 x` or `.param .align 8 .b8 x[48]`
            let size = |parameter: &str| -> Option<usize> {
                let mut words = parameter.split_whitespace();
                let bits = words.find_map(|word| {
                    let digits = word.strip_prefix('.')?.strip_prefix(['b', 'u', 's', 'f'])?;
                    digits.parse::<usize>().ok()
                })?;
                let count = parameter.rsplit_once('[').map_or(1, |(_, count)| {
                    count.trim().trim_end_matches(']').parse().expect("a count")
                });
                Some(bits / 8 * count)
            };
            (name.trim().to_owned(), list.filter_map(size).collect())
        });
        entries.collect()
    }

    #[test]
    fn the_ptx_has_the_kernels_that_are_tested_with_the_same_parameters() {
        if crate::cuda::testing::emulation() {
            let tested = hostemu::kernels().into_iter().map(|kernel| {
                let sizes = hostemu::parameter_sizes(kernel).expect("its sizes");
                (kernel.to_owned(), sizes)
            });
            assert_eq!(entries(), tested.collect());
        }
    }
}
