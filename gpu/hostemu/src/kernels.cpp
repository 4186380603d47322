// One build of the kernels: as fast as it gets, or followed by check.h. All that they define is
// this file's own, since the other build defines the same.
#include "emu.h"

namespace {
const emu::Registration *emu_last = nullptr;
#include EMU_KERNELS
}  // namespace

extern "C" const emu::Registration *EMU_BUILD() { return emu_last; }
