// Fibers, warps, barriers and shared memory: runs the blocks of one launch, one after the
// other.
//
// The kernels are built apart (kernels.cpp): once as they are, once so that every access to memory
// is followed (check.h), and once as devices before sm_80 have them.
#include "emu.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <sys/mman.h>
#include <vector>

extern "C" {
const emu::Registration *emu_kernels_fast();
#ifndef EMU_CHANGED
const emu::Registration *emu_kernels_checked();
const emu::Registration *emu_kernels_old();
#else  // Of changed kernels only these need be there (program.rs); they stand in for the old ones.
__attribute__((weak)) const emu::Registration *emu_kernels_checked() { return nullptr; }
__attribute__((weak)) const emu::Registration *emu_kernels_old() { return emu_kernels_fast(); }
#endif

// How a launch is run, and which memory it may touch: the twins of lib.rs's structs.
struct EmuRange {
    uintptr_t first;
    size_t bytes;
};
struct EmuHow {
    int checked, reversed, eager, old;
    const EmuRange *ranges;
    size_t range_count;
};
struct EmuCounts {
    unsigned long long global_requests, global_sectors, global_sectors_min;
    unsigned long long shared_requests, shared_cycles, shared_cycles_min;
};
}

namespace emu {

EMU_THREAD_LOCAL Context context;

// From one fiber's stack to the next one's, in bytes: no power of two, since their tops would share few
// sets of the caches.
static constexpr size_t STACK = (64 << 10) + 2112;
static constexpr size_t STATIC_SHARED_MAX = 48 << 10;
// With the opt-in of sm_80 to sm_90, the smallest of these.
static constexpr size_t DYNAMIC_SHARED_MAX = 99 << 10;
static constexpr unsigned THREADS_MAX = 1024, YZ_MAX = 65535;

// void emu_switch(void **stack, void *other): leaves this stack for another one.
asm(".text\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
extern "C" void emu_switch(void **, void *) __asm__("emu_switch");

struct Copy {
    void *to;
    const void *from;
    bool given;
};

struct Fiber : Thread {
    void *stack;
    size_t static_end;  // of the shared memory that it has declared so far
    std::vector<Copy> copies;    // that have not been waited for
    std::vector<size_t> groups;  // how many of these each commit ended, since the one before
    size_t committed;            // of the copies
};

struct Warp {
    const void *site;
    // Lanes: those that there are, that wait for nothing, that wait for one another, that have ended.
    u32 present, ready, arrived, exited;
    u32 epoch;
    void *operands[32];
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    char *stacks = nullptr;
    size_t stack_count = 0;
    void *scheduler;
    alignas(128) char shared[STATIC_SHARED_MAX + DYNAMIC_SHARED_MAX];
    size_t dynamic_bytes;
    int at_barrier, alive, barrier_line;
    u32 epoch;  // barriers that the block has passed
    const Registered *kernel;
    void **arguments;
    bool eager, checked, reversed;
    std::string error;
};

static EMU_THREAD_LOCAL Block *block;

static Fiber &self() { return *(Fiber *)context.current; }

// The next of a warp's lanes that waits for nothing, after the last one the first again; -1: all wait.
static int next_lane(const Warp &warp, int lane) {
    const u32 later = block->reversed ? (1u << lane) - 1 : ~1u << lane;
    const u32 ready = warp.ready & later ? warp.ready & later : warp.ready;
    if (!ready) return -1;
    return block->reversed ? 31 - __builtin_clz(ready) : __builtin_ctz(ready);
}

// Until somebody makes it ready: the warp's next lane goes on, or, if all wait, the scheduler.
static void wait() {
    Fiber &fiber = self();
    Warp &warp = block->warps[fiber.warp];
    warp.ready &= ~(1u << fiber.lane);
    const int lane = next_lane(warp, fiber.lane);
    if (lane < 0) return emu_switch(&fiber.stack, block->scheduler);
    Fiber &next = block->fibers[fiber.warp * 32 + lane];
    context.current = &next;
    emu_switch(&fiber.stack, next.stack);
}
[[noreturn]] static void fail(const std::string &what) {
    if (block->error.empty()) block->error = what;
    for (;;) emu_switch(&self().stack, block->scheduler);
}

}  // namespace emu

#include "check.h"

namespace emu {

static void release_block() {
    for (Warp &warp : block->warps) warp.ready = warp.present & ~warp.exited;
    block->at_barrier = 0;
    block->epoch++;
    if (block->checked) check::end_warps();
}

void block_barrier(int line) {
    if (block->at_barrier++ == 0) block->barrier_line = line;
    if (block->barrier_line != line) fail("threads of a block wait at different barriers");
    if (block->at_barrier == block->alive) return release_block();
    wait();
}

void warp_collective(const void *site, u32 mask, void *operand, void (*all)(void **, u32)) {
    Fiber &fiber = self();
    Warp &warp = block->warps[fiber.warp];
    mask &= warp.present;
    if (!(mask >> fiber.lane & 1)) fail("a lane's warp operation does not name the lane");
    if (warp.arrived && warp.site != site)
        fail("lanes of a warp are at different warp operations");
    if (mask & warp.exited) fail("a warp operation names a lane that has ended");
    warp.site = site;
    warp.operands[fiber.lane] = operand;
    warp.arrived |= 1u << fiber.lane;
    if (warp.arrived != mask) return wait();
    warp.arrived = 0;
    warp.epoch++;
    if (block->checked) check::end_warp(fiber.warp);
    all(warp.operands, mask);
    warp.ready |= mask;
}

static void complete(const Copy &copy) {
    if (copy.given)
        memcpy(copy.to, copy.from, 16);
    else
        memset(copy.to, 0, 16);
}

void copy_async(void *to, const void *from, bool given) {
    if (((uintptr_t)to | (uintptr_t)from) & 15)
        fail("an asynchronous copy that is not aligned");
    if (block->checked) check::copy(to, given ? from : nullptr);
    const Copy copy{to, from, given};
    if (block->eager) complete(copy);
    self().copies.push_back(copy);
}
void copy_commit() {
    Fiber &fiber = self();
    fiber.groups.push_back(fiber.copies.size() - fiber.committed);
    fiber.committed = fiber.copies.size();
}
void copy_wait(int pending_max) {
    Fiber &fiber = self();
    if ((int)fiber.groups.size() <= pending_max) return;
    const auto pending = fiber.groups.end() - pending_max;
    size_t done = 0;
    for (auto group = fiber.groups.begin(); group != pending; ++group) done += *group;
    for (size_t i = 0; i < done; i++) {
        const Copy &copy = fiber.copies[i];
        if (!block->eager) complete(copy);
        if (block->checked) check::copied(copy.to);  // until now nobody may have looked
    }
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + done);
    fiber.groups.erase(fiber.groups.begin(), pending);
    fiber.committed -= done;
}
u32 fetch_or(u32 *p, u32 bits) {
    if (block->checked) check::atomic(p);
    const u32 before = *p;
    *p |= bits;
    return before;
}
void note_matrix_rows(const void *const *rows, int count) {
    if (block->checked) check::matrix_rows(rows, count);
}

void *dynamic_shared() { return block->shared + STATIC_SHARED_MAX; }
void *static_shared(size_t bytes) {
    Fiber &fiber = self();
    void *at = block->shared + fiber.static_end;
    fiber.static_end = (fiber.static_end + bytes + 15) & ~size_t(15);
    if (fiber.static_end > STATIC_SHARED_MAX) fail("more than 48 KiB of static shared memory");
    return at;
}

static void enter() {
    block->kernel->call(block->arguments);
    Fiber &fiber = self();
    if (fiber.committed < fiber.copies.size())
        fail("an asynchronous copy was never committed");
    if (!fiber.copies.empty()) fail("an asynchronous copy was never waited for");
    Warp &warp = block->warps[fiber.warp];
    warp.exited |= 1u << fiber.lane;
    if (warp.arrived >> fiber.lane & 1) fail("a lane ended in a warp operation");
    // Threads that have ended count at barriers no more.
    if (--block->alive && block->at_barrier == block->alive) release_block();
    for (;;) wait();
}

static void prepare(int threads) {
    block->alive = threads;
    block->at_barrier = 0;
    block->epoch = 0;
    memset(block->shared, 0xff, STATIC_SHARED_MAX + block->dynamic_bytes);  // not a number
    for (int w = 0; w < (int)block->warps.size(); w++) {
        const int lanes = min(32, threads - 32 * w);
        block->warps[w] = {};
        block->warps[w].present = lanes == 32 ? ~0u : (1u << lanes) - 1;
        block->warps[w].ready = block->warps[w].present;
    }
    for (int i = 0; i < threads; i++) {
        Fiber &fiber = block->fibers[i];
        fiber.static_end = 0;
        fiber.copies.clear();
        fiber.groups.clear();
        fiber.committed = 0;
        const Dim d = context.block_dim;
        fiber.index = {i % d.x, i / d.x % d.y, i / (d.x * d.y)};
        fiber.lane = i & 31;
        fiber.warp = i >> 5;
        void **top = (void **)(block->stacks + (i + 1) * STACK) - 1;
        *--top = (void *)enter;
        fiber.stack = top - 6;  // what emu_switch pops
    }
    if (block->checked) check::begin_block();
}

// A warp runs until all its lanes wait for the block; then the next one does.
static void run_block(int threads) {
    prepare(threads);
    const int warps = (int)block->warps.size();
    while (block->alive) {
        bool any = false;
        for (int w = 0; w < warps; w++) {
            const int warp = block->reversed ? warps - 1 - w : w;
            const int lane = next_lane(block->warps[warp], block->reversed ? 0 : 31);
            if (lane < 0) continue;
            any = true;
            Fiber &fiber = block->fibers[warp * 32 + lane];
            context.current = &fiber;
            emu_switch(&block->scheduler, fiber.stack);
            if (!block->error.empty()) return;
        }
        if (!any) {
            block->error = "deadlock: threads of a block wait for one another";
            return;
        }
    }
    if (block->checked) check::end_block();
}

using Registry = std::map<std::string, const Registered *>;

static Registry collect(const Registration *last) {
    Registry all;
    for (; last; last = last->before) all[last->kernel.name] = &last->kernel;
    return all;
}
static const Registry &registry(bool checked = false, bool old = false) {
    static const Registry fast = collect(emu_kernels_fast()),
                          followed = collect(emu_kernels_checked()),
                          before = collect(emu_kernels_old());
    return checked ? followed : old ? before : fast;
}

static const char *refused(const Registered &kernel, const unsigned *grid,
                           const unsigned *threads, unsigned shared) {
    const u64 count = (u64)threads[0] * threads[1] * threads[2];
    if (!count || count > THREADS_MAX) return "a block of no or more than 1024 threads";
    if (count > kernel.threads_max)
        return "a block of more threads than the kernel is bounded to";
    if (!grid[0] || !grid[1] || !grid[2] || grid[1] > YZ_MAX || grid[2] > YZ_MAX)
        return "an invalid grid";
    if (shared > DYNAMIC_SHARED_MAX) return "more than 99 KiB of dynamic shared memory";
    return nullptr;
}

}  // namespace emu

using namespace emu;

extern "C" {

// Kernel `index` in the order of names, or null.
const char *emu_name(size_t index) {
    for (const auto &entry : registry())
        if (index-- == 0) return entry.second->name;
    return nullptr;
}

// The sizes of a kernel's parameters, and how many there are; -1: no such kernel.
int emu_sizes(const char *name, size_t *sizes, int capacity) {
    const auto found = registry().find(name);
    if (found == registry().end()) return -1;
    const Registered &kernel = *found->second;
    std::copy_n(kernel.sizes, min(kernel.count, capacity), sizes);
    return kernel.count;
}

// Null if all went well, else what went wrong, until the thread's next call.
const char *emu_run(const char *name, const unsigned *grid, const unsigned *threads,
                    unsigned shared, void **arguments, const EmuHow *how, EmuCounts *counts) {
    const Registry &kernels = registry(how->checked, how->old);
    const auto found = kernels.find(name);
    if (found == kernels.end()) return "no such kernel";
    if (const char *why = refused(*found->second, grid, threads, shared)) return why;
    if (!block) block = new Block;  // one for each thread of the host, for good
    const unsigned count = threads[0] * threads[1] * threads[2];
    if (block->stack_count < count) {
        if (block->stacks) munmap(block->stacks, block->stack_count * STACK);
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        block->stacks =
            (char *)mmap(nullptr, count * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (block->stacks == MAP_FAILED) abort();
        block->stack_count = count;
    }
    block->fibers.resize(count);
    block->warps.resize((count + 31) / 32);
    block->kernel = found->second;
    block->arguments = arguments;
    block->dynamic_bytes = shared;
    block->eager = how->eager;
    block->checked = how->checked;
    block->reversed = how->reversed;
    block->error.clear();
    context.block_dim = {threads[0], threads[1], threads[2]};
    context.grid_dim = {grid[0], grid[1], grid[2]};
    if (how->checked) check::begin(*how);
    const u64 blocks = (u64)grid[0] * grid[1] * grid[2];
    for (u64 b = 0; b < blocks; b++) {
        const u64 i = how->reversed ? blocks - 1 - b : b;
        context.block_index = {unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]),
                               unsigned(i / grid[0] / grid[1])};
        run_block((int)count);
        if (!block->error.empty()) {
            char place[96];
            snprintf(place, sizeof place, " (block %u,%u,%u, thread %d of %u)",
                     context.block_index.x, context.block_index.y, context.block_index.z,
                     context.current->warp * 32 + context.current->lane, count);
            block->error += place;
            return block->error.c_str();
        }
    }
    *counts = how->checked ? check::counts() : EmuCounts{};
    return nullptr;
}
}
