//! Images of kernels as the driver takes them: what they hold, and which devices and drivers they are for.

use crate::{
    settings::Settings,
    status::{
        INVALID_IMAGE, INVALID_PTX, NO_BINARY_FOR_GPU, Status, UNSUPPORTED_PTX_VERSION, tell,
    },
};
use object::{
    Endianness, Object as _, ObjectSection as _,
    elf::FileHeader64,
    read::elf::{ElfFile64, FileHeader as _},
};
use std::{
    ffi::{CStr, c_char},
    slice,
};

/// A kernel of an image: its name, and the sizes of its parameters in bytes.
pub(crate) type Signature = (String, Vec<usize>);

/// The kernels of the image at `start`, if this device and this driver would take it.
///
/// # Safety
/// `start` points to a whole cubin, or to text that ends with a zero.
pub(crate) unsafe fn read(
    start: *const c_char, settings: &Settings,
) -> Result<Vec<Signature>, Status> {
    let first = start.cast::<u8>();
    // SAFETY: there is a byte at least, and no text begins with this one.
    if unsafe { *first } == object::elf::ELFMAG[0] {
        // SAFETY: a cubin begins with its header.
        let header = unsafe { slice::from_raw_parts(first, HEADER_BYTES) };
        // SAFETY: the header says how long it is.
        return of_cubin(
            unsafe { slice::from_raw_parts(first, cubin_bytes(header)?) },
            settings,
        );
    }
    // SAFETY: text ends with a zero.
    let bytes = unsafe { CStr::from_ptr(start) }.to_bytes();
    of_ptx(std::str::from_utf8(bytes).map_err(|_| INVALID_IMAGE)?, settings)
}

fn refuse(status: Status, what: &str) -> Status {
    tell(what);
    status
}

const HEADER_BYTES: usize = size_of::<FileHeader64<Endianness>>();

/// The length of a cubin: its tables of sections and of segments come last.
fn cubin_bytes(header: &[u8]) -> Result<usize, Status> {
    let header = FileHeader64::<Endianness>::parse(header).map_err(|_| INVALID_IMAGE)?;
    let little = Endianness::Little;
    let end = |offset: u64, len: u16, count: u16| {
        offset as usize + usize::from(len) * usize::from(count)
    };
    Ok(end(header.e_shoff(little), header.e_shentsize(little), header.e_shnum(little))
        .max(end(header.e_phoff(little), header.e_phentsize(little), header.e_phnum(little))))
}

/// As of which version of its ABI a cubin's flags have the architecture in their second byte.
const ABI_WITH_WIDE_FLAGS: u8 = 8;
/// What `.nv.info.KERNEL` tells of a parameter: its kind, and the bytes after it.
const PARAMETER: [u8; 2] = [0x04, 0x17];
/// What has a length, of all that it tells.
const SIZED: u8 = 0x04;

/// A cubin runs on devices of its major version from its minor version on.
fn of_cubin(bytes: &[u8], settings: &Settings) -> Result<Vec<Signature>, Status> {
    let file = ElfFile64::<Endianness>::parse(bytes)
        .map_err(|error| refuse(INVALID_IMAGE, &format!("a cubin that is no ELF: {error}")))?;
    let header = file.elf_header();
    let flags = header.e_flags(Endianness::Little);
    let wide = header.e_ident().abi_version >= ABI_WITH_WIDE_FLAGS;
    let architecture = (if wide { flags >> 8 } else { flags } & 0xff) as i32;
    let (major, minor) = settings.capability;
    if architecture / 10 != major || architecture % 10 > minor {
        let what = format!("a cubin for sm_{architecture}, and this is an sm_{major}{minor}");
        return Err(refuse(NO_BINARY_FOR_GPU, &what));
    }
    let unread = |_| refuse(INVALID_IMAGE, "a cubin with a section that cannot be read");
    let mut kernels = vec![];
    for section in file.sections() {
        let name = section.name().map_err(unread)?;
        if let Some(kernel) = name.strip_prefix(".nv.info.") {
            let sizes = parameter_sizes(section.data().map_err(unread)?)
                .ok_or_else(|| refuse(INVALID_IMAGE, &format!("{kernel}: no parameters")))?;
            kernels.push((kernel.to_owned(), sizes));
        }
    }
    Ok(kernels)
}

/// The sizes of a kernel's parameters, in order, of what `.nv.info` tells of it.
fn parameter_sizes(mut info: &[u8]) -> Option<Vec<usize>> {
    let mut sizes = vec![];
    while let [format, kind, low, high, rest @ ..] = info {
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (data, next) = rest.split_at_checked(if *format == SIZED { len } else { 0 })?;
        if [*format, *kind] == PARAMETER {
            let [_, _, _, _, low, high, _, _, flags @ ..] = data else { return None };
            let ordinal = usize::from(u16::from_le_bytes([*low, *high]));
            let bytes = u32::from_le_bytes(flags.try_into().ok()?) >> 18;
            sizes.resize(sizes.len().max(ordinal + 1), 0);
            sizes[ordinal] = bytes as usize;
        }
        info = next;
    }
    Some(sizes)
}

/// PTX runs on devices from its target on, with drivers that came after its version.
fn of_ptx(text: &str, settings: &Settings) -> Result<Vec<Signature>, Status> {
    let version =
        directive(text, ".version").and_then(|version| version.split_once('.')).and_then(
            |(major, minor)| Some((major.parse::<i32>().ok()?, minor.parse::<i32>().ok()?)),
        );
    let Some((major, minor)) = version else {
        return Err(refuse(INVALID_IMAGE, "neither a cubin nor PTX"));
    };
    // PTX 8.0 came with CUDA 12.0, and so on until 8.8; 7.0 with 11.0.
    let driver = (major + 4) * 1000 + minor * 10;
    if driver > settings.driver {
        let what = format!("PTX {major}.{minor} is newer than driver {}", settings.driver);
        return Err(refuse(UNSUPPORTED_PTX_VERSION, &what));
    }
    let target = directive(text, ".target sm_").and_then(|target| target.parse::<i32>().ok());
    let (major, minor) = settings.capability;
    if target.is_none_or(|target| target > major * 10 + minor) {
        return Err(refuse(INVALID_PTX, "PTX for other devices than this one"));
    }
    let entries = text.split(".entry ").skip(1).map(|entry| {
        signature(entry)
            .ok_or_else(|| refuse(INVALID_IMAGE, "an entry whose parameters cannot be read"))
    });
    entries.collect()
}

/// What follows a directive, up to the next blank.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_once(name)?.1.split_whitespace().next()
}

/// The name and the sizes of the parameters of `NAME( .param .u64 a, .param .align 8 .b8 b[44] ) ...`.
fn signature(entry: &str) -> Option<Signature> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(driver: i32, capability: (i32, i32)) -> Settings {
        Settings { driver, capability, ..Settings::read(|_| None) }
    }

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
    fn parameters_of_cubins_are_read_as_ptxas_writes_them() {
        // Two parameters, the last first, and something of another kind before them.
        let info = [
            0x03, 0x1b, 0xff, 0x00, // no data: a value of two bytes
            0x04, 0x17, 0x0c, 0x00, 0, 0, 0, 0, 1, 0, 8, 0, 0x00, 0xf0, 0xb0, 0x00, 0x04, 0x17,
            0x0c, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xf0, 0x21, 0x00,
        ];
        assert_eq!(parameter_sizes(&info), Some(vec![8, 44]));
        assert_eq!(parameter_sizes(&info[..30]), None);
    }

    #[test]
    fn ptx_is_for_devices_and_drivers_that_are_new_enough() {
        let text = ".version 8.4\n.target sm_80\n.visible .entry none()\n{ ret; }";
        let read = |driver, capability| of_ptx(text, &settings(driver, capability));
        assert_eq!(read(12_040, (8, 0)), Ok(vec![("none".into(), vec![])]));
        assert_eq!(read(12_030, (8, 0)), Err(UNSUPPORTED_PTX_VERSION));
        assert_eq!(read(13_000, (7, 5)), Err(INVALID_PTX));
        assert_eq!(of_ptx("junk", &settings(13_000, (9, 0))), Err(INVALID_IMAGE));
    }
}
