// What kernels need that C++ does not have, and nothing else does: qualifiers, and every
// operation of PTX that CUDA C++ has no name for. Kernels never write assembly. Under HOST_EMU
// the same names come from hostemu/src/emu.h, and run on the CPU.
#pragma once
#ifdef HOST_EMU
#include "emu.h"
#else

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEV static __device__ __forceinline__
#define DEV_METHOD __device__ __forceinline__
#define UNROLL _Pragma("unroll")
// A kernel for blocks of at most `threads` threads, one or more to a multiprocessor: without the 1, ptxas spills
// some kernel's registers to fit one block more.
#define KERNEL(threads, name, ...) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(__VA_ARGS__)
// Shared memory whose size the launch gives; at most one per kernel.
#define DYNAMIC_SHARED(T, name)                                   \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    T *const name = (T *)name##_bytes
// `count` elements of shared memory; at the top of a kernel only.
#define STATIC_SHARED(T, name, count) __shared__ __align__(16) T name[count]

// Four floats, or four halves in two words, or eight in four, in one access: aligned to as many bytes.
DEV float4 load_floats(const float *p) { return *(const float4 *)p; }
DEV void store_floats(float *p, float4 v) { *(float4 *)p = v; }
DEV uint2 load_words(const void *p) { return *(const uint2 *)p; }
DEV void store_words(void *p, u32 a, u32 b) { *(uint2 *)p = make_uint2(a, b); }
DEV void store_words(void *p, u32 a, u32 b, u32 c, u32 d) { *(uint4 *)p = make_uint4(a, b, c, d); }

// Four sums side by side, which the CPU keeps in one register.
typedef float4 Sums4;
// sums[i] += a b[i], each rounded once.
DEV void add_products(Sums4 &sums, float a, float4 b) {
    sums.x = fmaf(a, b.x, sums.x);
    sums.y = fmaf(a, b.y, sums.y);
    sums.z = fmaf(a, b.z, sums.z);
    sums.w = fmaf(a, b.w, sums.w);
}
DEV void take(const Sums4 &sums, float (&to)[4]) {
    to[0] = sums.x;
    to[1] = sums.y;
    to[2] = sums.z;
    to[3] = sums.w;
}

DEV u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Half precision to a float, exactly, and back, rounded to nearest even; beyond the largest: infinity.
DEV float from_f16(u16 x) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x));
    return r;
}
DEV u16 to_f16(float x) {
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}

#if __CUDA_ARCH__ >= 800
#define TENSOR_CORES

// Two numbers rounded to nearest even, the first in the low half.
DEV u32 to_bf16x2(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEV u32 to_f16x2(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

// d[16][8] += a[16][16] b[16][8]; fragments as the PTX ISA's figures show.
DEV void mma_bf16(float *d, const u32 *a, const u32 *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEV void mma_f16(float *d, const u32 *a, const u32 *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Rounded to ten bits after the leading one, ties away from zero.
DEV u32 to_tf32(float x) {
    u32 r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
}
// d[16][8] += a[16][8] b[8][8], of what `to_tf32` has rounded: further bits are not read.
DEV void mma_tf32(float *d, const u32 *a, const u32 *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8x8 matrices of 16 bits: lane 8 i + j gives the address of row j of matrix i.
DEV void load_matrix_x4(u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEV void load_matrix_x4_trans(u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes from global to shared memory, past the registers; zeros, and nothing read, if not `given`.
DEV void copy_async16(void *to, const void *from, bool given) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)),
                   "r"(given ? 16 : 0)
                 : "memory");
}
// Ends a group of copies.
DEV void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for this thread's groups but the newest PENDING.
template <int PENDING>
DEV void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
}
#else
// As cvt.rn.bf16x2.f32 of newer devices does.
DEV u32 to_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEV u32 to_bf16x2(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
DEV u32 to_f16x2(float low, float high) { return to_f16(low) | (u32)to_f16(high) << 16; }
#endif  // __CUDA_ARCH__ >= 800
#endif  // HOST_EMU

// What changes from step to step: the twin of launch.rs's `StepParams`.
struct StepParams {
    float rate;
    float share;  // of a row in the gradient, times its scale
    u32 step[2];
    float unscale;   // one divided by the gradient's scale
    u32 overflowed;  // a gradient was not finite: no weight is updated any more
};

// The thread's index over the whole grid: of 32 bits, as all counts are that launch.rs's `int` has let
// through, or the divisions that follow would take ten times as long.
DEV u32 global_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
