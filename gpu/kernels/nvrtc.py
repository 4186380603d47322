"""Compiles one CUDA source to PTX with an NVRTC library, through its C interface: no driver, no GPU.

usage: nvrtc.py LIB_FOLDER SOURCE ARCH OUT, e.g. ARCH = compute_80
"""

import ctypes
import pathlib
import sys


def main(folder, source, arch, out):
    folder, source = pathlib.Path(folder), pathlib.Path(source)
    for builtins in folder.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)  # or the library would look for it elsewhere
    nvrtc = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
    program = ctypes.c_void_p()
    text = source.read_bytes()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None)
    options = [f"-arch={arch}", "-default-device", "-std=c++17", f"-I{source.parent}"]
    options = [option.encode() for option in options]
    array = (ctypes.c_char_p * len(options))(*options)
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)

    def result(size_of, get):
        size = ctypes.c_size_t()
        size_of(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        get(program, buffer)
        return buffer.value

    sys.stderr.buffer.write(result(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog))
    if failed:
        sys.exit(f"{source}: NVRTC for {arch}: error {failed}")
    pathlib.Path(out).write_bytes(result(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX))


main(*sys.argv[1:])
