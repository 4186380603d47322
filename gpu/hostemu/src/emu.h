// What a kernel sees of the emulation: CUDA's names as C++.
//
// Each CUDA thread is a fiber of one OS thread, and blocks run one after the other. A fiber
// runs until it waits; warps run as far ahead of one another as the barriers let them. So what
// a barrier or a wait ought to order, but does not, comes out in the wrong order.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#ifdef __x86_64__
#include <immintrin.h>
#endif

typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;

#define __restrict__ __restrict
#define DEV static inline __attribute__((always_inline))
#define DEV_METHOD inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define DYNAMIC_SHARED(T, name) T *const name = (T *)emu::dynamic_shared()
#define STATIC_SHARED(T, name, count) \
    T *const name = (T *)emu::static_shared(sizeof(T) * (count))

// Registers the kernel under its name, with the sizes of its parameters.
#define KERNEL(threads, name, ...)                                                   \
    static void name(__VA_ARGS__);                                                   \
    static const emu::Registration emu_registration_##name(                          \
        &emu_last, {#name, threads, emu::Call<&name>::call, emu::Call<&name>::sizes, \
                    emu::Call<&name>::count});                                       \
    static void name(__VA_ARGS__)

// Static, as all templates here: the checked build of the kernels must not share code with
// another one.
template <class T>
static inline T max(T a, T b) {
    return a < b ? b : a;
}
template <class T>
static inline T min(T a, T b) {
    return b < a ? b : a;
}

struct alignas(8) uint2 {
    u32 x, y;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// One access each: a compiler takes structs apart, but not vectors.
typedef float emu_float4 __attribute__((vector_size(16)));
typedef u32 emu_uint2 __attribute__((vector_size(8)));
typedef u32 emu_uint4 __attribute__((vector_size(16)));
DEV float4 load_floats(const float *p) {
    const emu_float4 v = *(const emu_float4 *)p;
    return {v[0], v[1], v[2], v[3]};
}
DEV void store_floats(float *p, float4 v) { *(emu_float4 *)p = emu_float4{v.x, v.y, v.z, v.w}; }
typedef emu_float4 Sums4;
DEV void add_products(Sums4 &sums, float a, float4 b) {
#ifdef __FMA__
    sums = _mm_fmadd_ps(emu_float4{a, a, a, a}, emu_float4{b.x, b.y, b.z, b.w}, sums);
#else
    const float with[4] = {b.x, b.y, b.z, b.w};
    for (int i = 0; i < 4; i++) sums[i] = fmaf(a, with[i], sums[i]);
#endif
}
DEV void take(const Sums4 &sums, float (&to)[4]) {
    for (int i = 0; i < 4; i++) to[i] = sums[i];
}
DEV uint2 load_words(const void *p) {
    const emu_uint2 v = *(const emu_uint2 *)p;
    return {v[0], v[1]};
}
DEV void store_words(void *p, u32 a, u32 b) { *(emu_uint2 *)p = emu_uint2{a, b}; }
DEV void store_words(void *p, u32 a, u32 b, u32 c, u32 d) {
    *(emu_uint4 *)p = emu_uint4{a, b, c, d};
}

namespace emu {

struct Dim {
    unsigned x, y, z;
};

// The part of a fiber that kernels ask for.
struct Thread {
    Dim index;
    int lane, warp;
};

struct Context {
    Thread *current;
    Dim block_index, block_dim, grid_dim;
};
// Few bytes, for which the loader has room even where this is part of a library that is loaded late.
#define EMU_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) thread_local
extern EMU_THREAD_LOCAL Context context;

void *dynamic_shared();
void *static_shared(size_t bytes);
// All threads of the block that have not ended wait here, at the same line.
void block_barrier(int line);
// All lanes of `mask` arrive at `site` with an operand; the last one runs `all` over the
// operands.
void warp_collective(const void *site, u32 mask, void *operand,
                     void (*all)(void **lanes, u32 mask));
// A copy of 16 bytes that completes no sooner than it must, or at once.
void copy_async(void *to, const void *from, bool given);
void copy_commit();
void copy_wait(int pending_max);
u32 fetch_or(u32 *p, u32 bits);
// For the count of bank conflicts: a warp reads eight rows of 16 bytes at a time.
void note_matrix_rows(const void *const *rows, int count);

struct Registered {
    const char *name;
    unsigned threads_max;
    void (*call)(void **);
    const size_t *sizes;  // of the parameters
    int count;            // of them
};

// A kernel of a build, in a list.
struct Registration {
    Registered kernel;
    const Registration *before;
    Registration(const Registration **last, const Registered &registered)
        : kernel(registered), before(*last) {
        *last = this;
    }
};

template <auto Function>
struct Call;
template <class... A, void (*Function)(A...)>
struct Call<Function> {
    static constexpr int count = sizeof...(A);
    static constexpr size_t sizes[] = {sizeof(A)...};
    template <size_t... I>
    static void spread(void **arguments, std::index_sequence<I...>) {
        Function(*(std::remove_reference_t<A> *)arguments[I]...);
    }
    static void call(void **arguments) { spread(arguments, std::index_sequence_for<A...>()); }
};

template <class T>
struct Shuffle {
    T in, out;
    int from;
};

template <class T>
static T shuffle(const void *site, u32 mask, T value, int from) {
    Shuffle<T> operand{value, value, from};
    warp_collective(site, mask, &operand, [](void **lanes, u32 mask) {
        for (int i = 0; i < 32; i++) {
            if (!(mask >> i & 1)) continue;
            auto *mine = (Shuffle<T> *)lanes[i];
            if (mine->from >= 0 && mine->from < 32 && mask >> mine->from & 1)
                mine->out = ((Shuffle<T> *)lanes[mine->from])->in;
        }
    });
    return operand.out;
}

}  // namespace emu

#define threadIdx (emu::context.current->index)
#define blockIdx emu::context.block_index
#define blockDim emu::context.block_dim
#define gridDim emu::context.grid_dim

#define __syncthreads() emu::block_barrier(__LINE__)

static inline void __syncwarp(u32 mask = ~0u) {
    static char site;
    emu::warp_collective(&site, mask, nullptr, [](void **, u32) {});
}
template <class T>
static T __shfl_xor_sync(u32 mask, T value, int other) {
    static char site;
    return emu::shuffle(&site, mask, value, emu::context.current->lane ^ other);
}
template <class T>
static T __shfl_down_sync(u32 mask, T value, int down) {
    static char site;
    return emu::shuffle(&site, mask, value, emu::context.current->lane + down);
}
template <class T>
static T __shfl_sync(u32 mask, T value, int from) {
    static char site;
    return emu::shuffle(&site, mask, value, from & 31);
}

static inline float __uint_as_float(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline u32 __float_as_uint(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline u32 atomicOr(u32 *p, u32 bits) { return emu::fetch_or(p, bits); }
static inline u32 __umulhi(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }
// Rounded one by one: the build does not contract either.
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }

#ifndef EMU_OLD
#define TENSOR_CORES  // as of sm_80
#endif
#include "emu_warp.h"
