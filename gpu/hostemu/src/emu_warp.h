// Tensor cores, ldmatrix and cp.async as C++: the host half of prim.cuh.
//
// Fragments lie as the PTX ISA's figures of mma.m16n8k16 and mma.m16n8k8 show; g = lane / 4, q = lane % 4.
#pragma once

// Rounds to nearest even.
static inline u16 to_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline u32 to_bf16x2(float low, float high) {
    return to_bf16(low) | (u32)to_bf16(high) << 16;
}
// Ties away from zero.
static inline u32 to_tf32(float x) {
    const u32 bits = __float_as_uint(x);
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fffe000 : (bits + 0x1000) & 0xffffe000;
}
static inline float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }

// Half precision of IEEE 754. What floats from 0.5 to 1 are multiples of, 2^-24, is the smallest half.
static inline u16 to_f16(float x) {
    const u32 sign = __float_as_uint(x) >> 16 & 0x8000, size = __float_as_uint(x) & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;
    if (size >= 0x477ff000) return (u16)(sign | 0x7c00);  // 65520, half way to 65536, and beyond
    if (size < 0x38800000) {                              // below 2^-14
        const float rounded = __uint_as_float(size) + 0.5f;
        return (u16)(sign | (__float_as_uint(rounded) - 0x3f000000));
    }
    return (u16)(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
}
static inline u32 to_f16x2(float low, float high) {
    return to_f16(low) | (u32)to_f16(high) << 16;
}
static inline float from_f16(u16 x) {
#ifdef __F16C__
    return _cvtsh_ss(x);
#else
    const u32 sign = (u32)(x & 0x8000) << 16, size = (u32)(x & 0x7fff) << 13;
    if (size >= 0x0f800000) return __uint_as_float(sign | (size + 0x70000000));
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(size) * 0x1p112f));
#endif
}

static inline void copy_async16(void *to, const void *from, bool given) {
    emu::copy_async(to, from, given);
}
static inline void copy_async_commit() { emu::copy_commit(); }
template <int PENDING>
static void copy_async_wait() {
    emu::copy_wait(PENDING);
}

namespace emu {

struct Product {
    float *d;
    const u32 *a, *b;
};

// d[16][8] += a[16][DEPTH] b[DEPTH][8], from the fragments of 32 lanes.
template <int DEPTH, class A, class B>
static void multiply(void **lanes, A put_a, B put_b) {
    float a[16][DEPTH], b[DEPTH][8], d[16][8];
    for (int lane = 0; lane < 32; lane++) {
        auto *p = (Product *)lanes[lane];
        const int g = lane >> 2, q = lane & 3;
        put_a(a, p->a, g, q);
        put_b(b, p->b, g, q);
        for (int e = 0; e < 4; e++) d[g + (e >> 1) * 8][q * 2 + (e & 1)] = p->d[e];
    }
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < DEPTH; k++)
            for (int n = 0; n < 8; n++) d[m][n] += a[m][k] * b[k][n];
    for (int lane = 0; lane < 32; lane++) {
        auto *p = (Product *)lanes[lane];
        for (int e = 0; e < 4; e++)
            p->d[e] = d[(lane >> 2) + (e >> 1) * 8][(lane & 3) * 2 + (e & 1)];
    }
}

template <float FROM(u16)>
static void multiply_halves(void **lanes) {
    multiply<16>(
        lanes,
        [](float(*a)[16], const u32 *r, int g, int q) {
            for (int i = 0; i < 4; i++)
                for (int h = 0; h < 2; h++)
                    a[g + (i & 1) * 8][q * 2 + (i >> 1) * 8 + h] =
                        FROM(r[i] >> 16 * h & 0xffff);
        },
        [](float(*b)[8], const u32 *r, int g, int q) {
            for (int i = 0; i < 2; i++)
                for (int h = 0; h < 2; h++)
                    b[q * 2 + i * 8 + h][g] = FROM(r[i] >> 16 * h & 0xffff);
        });
}

// Of each number, the bits that tensor cores read.
static float from_tf32(u32 bits) { return __uint_as_float(bits & 0xffffe000); }
static void multiply_tf32(void **lanes) {
    multiply<8>(
        lanes,
        [](float(*a)[8], const u32 *r, int g, int q) {
            for (int i = 0; i < 4; i++) a[g + (i & 1) * 8][q + (i >> 1) * 4] = from_tf32(r[i]);
        },
        [](float(*b)[8], const u32 *r, int g, int q) {
            for (int i = 0; i < 2; i++) b[q + i * 4][g] = from_tf32(r[i]);
        });
}

struct Matrices {
    u32 *r;
    const u16 *row;
};

// Its reads are followed by note_matrix_rows.
template <bool TRANSPOSED>
__attribute__((no_sanitize_thread)) static void load_matrices(void **lanes) {
    const void *rows[32];
    for (int i = 0; i < 32; i++) rows[i] = ((Matrices *)lanes[i])->row;
    note_matrix_rows(rows, 32);
    for (int m = 0; m < 4; m++)
        for (int lane = 0; lane < 32; lane++) {
            u16 pair[2];
            for (int h = 0; h < 2; h++) {
                const int at = (lane & 3) * 2 + h, other = lane >> 2;
                const int row = TRANSPOSED ? at : other, col = TRANSPOSED ? other : at;
                memcpy(&pair[h], ((Matrices *)lanes[m * 8 + row])->row + col, 2);
            }
            memcpy(&((Matrices *)lanes[lane])->r[m], pair, 4);
        }
}

}  // namespace emu

static inline void mma_bf16(float *d, const u32 *a, const u32 *b) {
    static char site;
    emu::Product operand{d, a, b};
    emu::warp_collective(&site, ~0u, &operand,
                         [](void **lanes, u32) { emu::multiply_halves<from_bf16>(lanes); });
}
static inline void mma_f16(float *d, const u32 *a, const u32 *b) {
    static char site;
    emu::Product operand{d, a, b};
    emu::warp_collective(&site, ~0u, &operand,
                         [](void **lanes, u32) { emu::multiply_halves<from_f16>(lanes); });
}
static inline void mma_tf32(float *d, const u32 *a, const u32 *b) {
    static char site;
    emu::Product operand{d, a, b};
    emu::warp_collective(&site, ~0u, &operand,
                         [](void **lanes, u32) { emu::multiply_tf32(lanes); });
}
static inline void load_matrix_x4(u32 *r, const void *row) {
    static char site;
    emu::Matrices operand{r, (const u16 *)row};
    emu::warp_collective(&site, ~0u, &operand,
                         [](void **lanes, u32) { emu::load_matrices<false>(lanes); });
}
static inline void load_matrix_x4_trans(u32 *r, const void *row) {
    static char site;
    emu::Matrices operand{r, (const u16 *)row};
    emu::warp_collective(&site, ~0u, &operand,
                         [](void **lanes, u32) { emu::load_matrices<true>(lanes); });
}
