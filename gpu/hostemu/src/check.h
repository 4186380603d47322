// Follows every access of the kernels to memory.
//
// The checked build of the kernels is compiled with -fsanitize=thread but linked without its
// library: the calls that the compiler inserts end here. They find accesses outside the buffers
// of the launch, accesses of two threads that nothing orders, bank conflicts and memory that is
// fetched but not used.
#pragma once
#include <unordered_map>

namespace emu::check {

static constexpr int SECTOR = 32, BANKS = 32, WORD = 4;

// Who touched a word last. Threads count over the whole grid, from 1 on.
struct Trace {
    u32 writer, writer_epoch, writer_warp_epoch, writer_block;
    u32 reader, reader_epoch, reader_warp_epoch, reader_block;
    bool many_lanes, many_warps;  // of the readers since
};

struct Access {
    const void *site;
    uintptr_t at;
    int bytes;
};

struct State {
    const EmuRange *ranges = nullptr;
    size_t range_count = 0;
    size_t last = 0;  // the range of the access before
    u32 block = 0;  // counts all blocks that this thread of the host has run
    bool active = false;
    std::unordered_map<uintptr_t, Trace> global;
    std::vector<Trace> shared;
    std::vector<std::vector<Access>>
        logs;  // of each fiber, since its warp's last synchronisation
    EmuCounts counts{};
};
static thread_local State state;

static bool in_shared(uintptr_t at) {
    const auto first = (uintptr_t)block->shared;
    return at >= first && at < first + sizeof block->shared;
}
static bool in_buffers(uintptr_t at, size_t bytes) {
    State &own = state;  // asked for once: it is made when it is first asked for
    const auto holds = [=](const EmuRange &range) {
        return at >= range.first && at + bytes <= range.first + range.bytes;
    };
    if (own.last < own.range_count && holds(own.ranges[own.last])) return true;
    for (size_t i = 0; i < own.range_count; i++)
        if (holds(own.ranges[i])) {
            own.last = i;
            return true;
        }
    return false;
}

static bool inside(uintptr_t at, size_t bytes, const void *first, size_t len) {
    return at >= (uintptr_t)first && at + bytes <= (uintptr_t)first + len;
}
// The kernel's own variables.
static bool in_stacks(uintptr_t at, size_t bytes) {
    return inside(at, bytes, block->stacks, block->stack_count * STACK);
}
// The launch's arguments, and where CUDA has special registers.
static bool of_emulation(uintptr_t at, size_t bytes) {
    const Registered &kernel = *block->kernel;
    for (int i = 0; i < kernel.count; i++)
        if (inside(at, bytes, block->arguments[i], kernel.sizes[i])) return true;
    return inside(at, bytes, block->arguments, kernel.count * sizeof(void *)) ||
           inside(at, bytes, block->fibers.data(), block->fibers.size() * sizeof(Fiber)) ||
           inside(at, bytes, block->warps.data(), block->warps.size() * sizeof(Warp)) ||
           inside(at, bytes, &context, sizeof context);
}

// Whether nothing orders an access of this thread and one by `other`, made at these epochs.
static bool unordered(u32 other, u32 other_block, u32 epoch, u32 warp_epoch) {
    const Fiber &fiber = self();
    const u32 me = (u32)(fiber.warp * 32 + fiber.lane) + 1;
    if (!other) return false;
    if (other_block != state.block) return true;  // blocks are never ordered
    if (other == me || epoch != block->epoch) return false;
    const bool same_warp = (other - 1) / 32 == (u32)fiber.warp;
    return !(same_warp && warp_epoch != block->warps[fiber.warp].epoch);
}

static void race(const char *what, bool shared) {
    fail(std::string(what) + (shared ? " in shared memory" : " in global memory"));
}

static void touch(Trace &trace, bool write, bool shared) {
    const Fiber &fiber = self();
    if (shared && trace.writer_block != state.block && trace.reader_block != state.block)
        trace = {};  // an older block's
    const u32 me = (u32)(fiber.warp * 32 + fiber.lane) + 1,
              warp_epoch = block->warps[fiber.warp].epoch;
    if (unordered(trace.writer, trace.writer_block, trace.writer_epoch,
                  trace.writer_warp_epoch))
        race(write ? "two threads write one word" : "a read that nothing orders after a write",
             shared);
    const bool same_epoch =
        trace.reader_epoch == block->epoch && trace.reader_block == state.block;
    if (write) {
        const bool of_others = trace.reader && same_epoch && trace.many_warps;
        const bool of_lanes = trace.reader && same_epoch && trace.many_lanes &&
                              trace.reader_warp_epoch == warp_epoch;
        if (of_others || of_lanes ||
            unordered(trace.reader, trace.reader_block, trace.reader_epoch,
                      trace.reader_warp_epoch))
            race("a write that nothing orders after a read", shared);
        trace.writer = me;
        trace.writer_block = state.block;
        trace.writer_epoch = block->epoch;
        trace.writer_warp_epoch = warp_epoch;
        trace.reader = 0;
        trace.many_lanes = trace.many_warps = false;
        return;
    }
    const bool again = trace.reader && same_epoch;
    trace.many_warps =
        again && (trace.many_warps || (trace.reader - 1) / 32 != (u32)fiber.warp);
    trace.many_lanes = again && trace.reader_warp_epoch == warp_epoch &&
                       (trace.many_lanes || trace.reader != me);
    trace.reader = me;
    trace.reader_block = state.block;
    trace.reader_epoch = block->epoch;
    trace.reader_warp_epoch = warp_epoch;
}

static void touch_all(uintptr_t at, int bytes, bool write) {
    const bool shared = in_shared(at);
    for (uintptr_t word = at / WORD; word * WORD < at + bytes; word++) {
        // Words that are shared by smaller elements are not followed: two may write them side
        // by side.
        if (bytes < WORD) return;
        Trace &trace =
            shared ? state.shared[word - (uintptr_t)block->shared / WORD] : state.global[word];
        touch(trace, write, shared);
    }
}

static void access(const void *site, const void *p, int bytes, bool write) {
    if (!state.active || !context.current) return;
    const auto at = (uintptr_t)p;
    if (in_stacks(at, bytes)) return;
    if (in_shared(at)) {
        const size_t end = at - (uintptr_t)block->shared + bytes;
        const size_t limit = at - (uintptr_t)block->shared < STATIC_SHARED_MAX
                                 ? self().static_end
                                 : STATIC_SHARED_MAX + block->dynamic_bytes;
        if (end > limit)
            fail(write ? "a write past shared memory" : "a read past shared memory");
    } else if (!in_buffers(at, bytes)) {
        if (!write && of_emulation(at, bytes)) return;
        fail(write ? "a write outside of the launch's buffers"
                   : "a read outside of the launch's buffers");
    }
    touch_all(at, bytes, write);
    if (!site) return;  // counted elsewhere, or a copy of a struct
    if (at % bytes) fail("an access that is not aligned");
    state.logs[self().warp * 32 + self().lane].push_back({site, at, bytes});
}

// Distinct words per bank, at most; `lanes` of the accesses at a time, as the hardware does by
// size.
static u64 bank_cycles(const std::vector<Access> &accesses, u64 &phases) {
    const int lanes = 128 / max(accesses[0].bytes, WORD);
    u64 cycles = 0;
    for (size_t first = 0; first < accesses.size(); first += lanes) {
        std::vector<uintptr_t> words[BANKS];
        size_t most = 0;
        for (size_t i = first; i < min(accesses.size(), first + lanes); i++)
            for (int b = 0; b < max(accesses[i].bytes, WORD); b += WORD) {
                const uintptr_t word = (accesses[i].at + b) / WORD;
                auto &of_bank = words[word % BANKS];
                if (std::find(of_bank.begin(), of_bank.end(), word) == of_bank.end())
                    of_bank.push_back(word);
                most = max(most, of_bank.size());
            }
        cycles += most;
        phases++;
    }
    return cycles;
}

// One request of a warp: the same place of the code, for the same time, by its lanes.
static void count(const std::vector<Access> &accesses) {
    EmuCounts &counts = state.counts;
    if (in_shared(accesses[0].at)) {
        counts.shared_requests++;
        counts.shared_cycles += bank_cycles(accesses, counts.shared_cycles_min);
        return;
    }
    std::vector<uintptr_t> sectors, words;
    for (const Access &access : accesses)
        for (int b = 0; b < access.bytes; b += min(access.bytes, WORD)) {
            sectors.push_back((access.at + b) / SECTOR);
            words.push_back((access.at + b) / WORD);
        }
    const auto distinct = [](std::vector<uintptr_t> &all) {
        std::sort(all.begin(), all.end());
        return (u64)(std::unique(all.begin(), all.end()) - all.begin());
    };
    counts.global_requests++;
    counts.global_sectors += distinct(sectors);
    counts.global_sectors_min += (distinct(words) * WORD + SECTOR - 1) / SECTOR;
}

static void end_warp(int warp) {
    std::map<std::pair<const void *, int>, std::vector<Access>> requests;
    for (int lane = 0; lane < 32; lane++) {
        const size_t i = warp * 32 + lane;
        if (i >= block->fibers.size()) break;
        std::unordered_map<const void *, int> times;
        for (const Access &access : state.logs[i])
            requests[{access.site, times[access.site]++}].push_back(access);
        state.logs[i].clear();
    }
    for (const auto &request : requests) count(request.second);
}

static void begin(const EmuHow &how) {
    state.ranges = how.ranges;
    state.range_count = how.range_count;
    state.counts = {};
    state.global.clear();
    state.logs.assign(block->fibers.size(), {});
    state.active = true;
}
static void begin_block() {
    state.block++;
    state.shared.resize(sizeof block->shared / WORD);
}
static void end_warps() {
    for (size_t w = 0; w < block->warps.size(); w++) end_warp((int)w);
}
static void end_block() { end_warps(); }
static EmuCounts counts() {
    state.active = false;
    return state.counts;
}

// Atomics order one another; nothing holds them against the plain accesses of a launch.
static void atomic(const u32 *p) {
    if (!in_buffers((uintptr_t)p, sizeof *p))
        fail("an atomic access outside of the launch's buffers");
    if ((uintptr_t)p % sizeof *p) fail("an atomic access that is not aligned");
}

// A copy is a write from its start to the wait for it.
static void copy(void *to, const void *from) {
    if (from) access(__builtin_return_address(0), from, 16, false);
    if (!in_shared((uintptr_t)to))
        fail("an asynchronous copy that does not go to shared memory");
    touch_all((uintptr_t)to, 16, true);
}
static void copied(const void *to) { touch_all((uintptr_t)to, 16, true); }
static void matrix_rows(const void *const *rows, int n) {
    for (int i = 0; i < n; i++) {
        if (!in_shared((uintptr_t)rows[i])) fail("ldmatrix of what is not in shared memory");
        if ((uintptr_t)rows[i] % 16) fail("a row of ldmatrix that is not aligned");
        access(nullptr, rows[i], 16, false);
    }
    std::vector<Access> accesses;
    for (int i = 0; i < n; i++) accesses.push_back({nullptr, (uintptr_t)rows[i], 16});
    state.counts.shared_requests++;
    state.counts.shared_cycles += bank_cycles(accesses, state.counts.shared_cycles_min);
}

}  // namespace emu::check

extern "C" {
#define EMU_ACCESS(name, bytes, write) \
    void name(void *p) { emu::check::access(__builtin_return_address(0), p, bytes, write); }
EMU_ACCESS(__tsan_read1, 1, false)
EMU_ACCESS(__tsan_read2, 2, false)
EMU_ACCESS(__tsan_read4, 4, false)
EMU_ACCESS(__tsan_read8, 8, false)
EMU_ACCESS(__tsan_read16, 16, false)
EMU_ACCESS(__tsan_write1, 1, true)
EMU_ACCESS(__tsan_write2, 2, true)
EMU_ACCESS(__tsan_write4, 4, true)
EMU_ACCESS(__tsan_write8, 8, true)
EMU_ACCESS(__tsan_write16, 16, true)
void __tsan_read_range(void *p, size_t bytes) {
    emu::check::access(nullptr, p, (int)bytes, false);
}
void __tsan_write_range(void *p, size_t bytes) {
    emu::check::access(nullptr, p, (int)bytes, true);
}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
