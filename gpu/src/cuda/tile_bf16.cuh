// A product of matrices whose factors are rounded to bf16, summed in f32, a tile per block: the loaders and
// outputs of tile_f32.cuh, the products on tensor cores.
//
// 256 threads are 8 warps, each with 32 by 32 of a tile's 128 by 64 sums, in steps of 32 terms. Operands lie in
// shared memory as their quads come: [side][k] where these are deep, else [k][side], which ldmatrix turns. Rows
// are 8 numbers longer than they need be, so that its eight rows of 16 bytes lie in different banks.
// Devices before sm_80 multiply in f32, by the same tiles.
#pragma once
#include "tile_f32.cuh"

// Names without a comma, for macros.
#define MULTIPLY_64X64 multiply<4, 4>
#define MULTIPLY_128X64 multiply<8, 4>

#define BF16_M 128
#define BF16_N 64
#define BF16_STEP 32

#if defined(HOST_EMU) || __CUDA_ARCH__ >= 800

// An operand with SIDE rows or columns in shared memory.
template <class Loader, int SIDE>
struct Room {
    static constexpr int PITCH = (Loader::DEEP ? BF16_STEP : SIDE) + 8;
    static constexpr int LEN = (Loader::DEEP ? SIDE : BF16_STEP) * PITCH;
    typedef Fetch<Loader, SIDE, BF16_STEP> Brought;

    static DEV_METHOD void store(const Brought &from, u16 *room) {
        UNROLL
        for (int p = 0; p < Brought::PASSES; p++) {
            const int side = Brought::side_of(p), depth = Brought::depth_of(p);
            u16 *const to = room + (Loader::DEEP ? side * PITCH + depth : depth * PITCH + side);
            const float4 v = from.held[p];
            store_halves(to, to_bf16x2(v.x, v.y), to_bf16x2(v.z, v.w));
        }
    }
    // The fragment of rows m .. m + 15 of a, at terms k .. k + 15.
    static DEV_METHOD void left(u32 (&r)[4], const u16 *room, int m, int k) {
        const int lane = threadIdx.x & 31, low = lane & 7, odd = lane >> 3 & 1,
                  high = lane >> 4;
        if (Loader::DEEP)
            load_matrix_x4(r, room + (m + odd * 8 + low) * PITCH + k + high * 8);
        else
            load_matrix_x4_trans(r, room + (k + high * 8 + low) * PITCH + m + odd * 8);
    }
    // The fragments of columns n .. n + 7 and n + 8 .. n + 15 of b, at terms k .. k + 15.
    static DEV_METHOD void right(u32 (&r)[4], const u16 *room, int n, int k) {
        const int lane = threadIdx.x & 31, low = lane & 7, odd = lane >> 3 & 1,
                  high = lane >> 4;
        if (Loader::DEEP)
            load_matrix_x4(r, room + (n + high * 8 + low) * PITCH + k + odd * 8);
        else
            load_matrix_x4_trans(r, room + (k + odd * 8 + low) * PITCH + n + high * 8);
    }
};

// A fragment's four sums are two neighbours in row g and two in row g + 8, g = lane / 4: a lane and its
// neighbour trade, so that each has four neighbours in one of the two.
template <class Output>
DEV void put_fragment(const float (&d)[4], int m, int n, const Output &output) {
    const int lane = threadIdx.x & 31, odd = lane & 1;
    const float first = __shfl_xor_sync(~0u, odd ? d[0] : d[2], 1);
    const float second = __shfl_xor_sync(~0u, odd ? d[1] : d[3], 1);
    const float four[4] = {odd ? first : d[0], odd ? second : d[1], odd ? d[2] : first,
                           odd ? d[3] : second};
    output(m + (lane >> 2) + odd * 8, n + (lane >> 1 & 1) * 4, four);
}

template <class A, class B, class Output>
DEV void multiply_bf16(const A &a, const B &b, int m0, int n0, int k0, int k1,
                       const Output &output) {
    typedef Room<A, BF16_M> Left;
    typedef Room<B, BF16_N> Right;
    STATIC_SHARED(u16, rooms_a, 2 * Left::LEN);
    STATIC_SHARED(u16, rooms_b, 2 * Right::LEN);
    typename Left::Brought fetch_a;
    typename Right::Brought fetch_b;
    const int warp = threadIdx.x / 32, row = warp / 2 * 32, col = warp % 2 * 32;
    float sums[2][4][4] = {};

    fetch_a.start(a, m0, k0);
    fetch_b.start(b, n0, k0);
    fetch_a.load(a);
    fetch_b.load(b);
    for (int k = k0, turn = 0; k < k1; k += BF16_STEP, turn ^= 1) {
        u16 *const room_a = rooms_a + turn * Left::LEN, *const room_b =
                                                            rooms_b + turn * Right::LEN;
        Left::store(fetch_a, room_a);
        Right::store(fetch_b, room_b);
        __syncthreads();
        if (k + BF16_STEP < k1) {
            fetch_a.next(a);
            fetch_b.next(b);
            fetch_a.load(a);
            fetch_b.load(b);
        }
        UNROLL
        for (int at = 0; at < BF16_STEP; at += 16) {
            u32 left[2][4], right[2][4];
            UNROLL
            for (int i = 0; i < 2; i++) {
                Left::left(left[i], room_a, row + 16 * i, at);
                Right::right(right[i], room_b, col + 16 * i, at);
            }
            UNROLL
            for (int i = 0; i < 8; i++)
                mma_bf16(sums[i / 4][i % 4], left[i / 4], &right[i % 4 / 2][i % 2 * 2]);
        }
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        put_fragment(sums[i / 4][i % 4], m0 + row + i / 4 * 16, n0 + col + i % 4 * 8, output);
}

#else

template <class A, class B, class Output>
DEV void multiply_bf16(const A &a, const B &b, int m0, int n0, int k0, int k1,
                       const Output &output) {
    multiply<BF16_M / 16, BF16_N / 16>(a, b, m0, n0, k0, k1, output);
}

#endif
