// A product of matrices of halves, summed in f32, a tile per block, on tensor cores.
//
// 256 threads are 8 warps, each with 32 by 32 of a tile's 128 by 64 sums, in steps of 32 terms. Copies to
// shared memory run STAGES - 1 steps ahead of the products; a stage is written again behind the barrier that
// follows its last use. Operands lie in shared memory as they come: [side][k] where they are deep, else
// [k][side], which ldmatrix turns. Rows are 8 numbers longer than they need be, so that its eight rows of
// 16 bytes lie in different banks.
// Devices before sm_80 widen the numbers and multiply them by the tiles of tile_f32.cuh.
#pragma once
#include "tile_f32.cuh"

#define HALVES_M 128
#define HALVES_N 64

#ifdef TENSOR_CORES

#define HALVES_STEP 32
#define STAGES 3
// What a loader brings at a time: 16 bytes.
#define HALVES_WIDTH 8

DEV void mma(float *d, const u32 *a, const u32 *b, bf16) { mma_bf16(d, a, b); }
DEV void mma(float *d, const u32 *a, const u32 *b, f16) { mma_f16(d, a, b); }

// An operand with SIDE rows or columns in a tile: what one thread brings of it, and what a warp reads.
template <class Loader, int SIDE>
struct Staged {
    typedef typename Loader::Number T;
    static constexpr int PITCH = (Loader::DEEP ? HALVES_STEP : SIDE) + 8;
    static constexpr int LEN = (Loader::DEEP ? SIDE : HALVES_STEP) * PITCH;
    static constexpr int PASSES = SIDE * HALVES_STEP / HALVES_WIDTH / TILE_THREADS;
    typename Loader::Row rows[Loader::DEEP ? PASSES : 1];
    typename Loader::Term terms[Loader::DEEP ? 1 : PASSES];

    static DEV_METHOD int side_of(int pass) {
        const int t = threadIdx.x, in_row = HALVES_STEP / HALVES_WIDTH;
        return Loader::DEEP ? t / in_row + pass * (TILE_THREADS / in_row)
                            : t % (SIDE / HALVES_WIDTH) * HALVES_WIDTH;
    }
    static DEV_METHOD int depth_of(int pass) {
        const int t = threadIdx.x, in_row = SIDE / HALVES_WIDTH;
        return Loader::DEEP ? t % (HALVES_STEP / HALVES_WIDTH) * HALVES_WIDTH
                            : t / in_row + pass * (TILE_THREADS / in_row);
    }
    DEV_METHOD Staged(const Loader &from, int first, int k) {
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? PASSES : 1); p++)
            rows[p] = from.row(first + side_of(p));
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES); p++)
            terms[p] = from.term(k + depth_of(p));
    }
    // Asks for the next step's numbers, to `room`.
    DEV_METHOD void bring(const Loader &from, T *room) {
        UNROLL
        for (int p = 0; p < PASSES; p++) {
            const int side = side_of(p), depth = depth_of(p);
            T *const to = room + (Loader::DEEP ? side * PITCH + depth : depth * PITCH + side);
            const auto &row = rows[Loader::DEEP ? p : 0];
            const auto &term = terms[Loader::DEEP ? 0 : p];
            if (from.whole) {
                const T *const chunk = from.chunk(row, term);
                copy_async16(to, chunk ? chunk : from.p, chunk);
            } else {
                T some[HALVES_WIDTH];
                from.some(row, term, some);
                u32 words[4];
                UNROLL
                for (int e = 0; e < 4; e++)
                    words[e] = some[2 * e].bits | (u32)some[2 * e + 1].bits << 16;
                store_words(to, words[0], words[1], words[2], words[3]);
            }
        }
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES); p++) from.next(terms[p], HALVES_STEP);
    }
    // The fragment of rows m .. m + 15 of a, at terms k .. k + 15.
    static DEV_METHOD void left(u32 (&r)[4], const T *room, int m, int k) {
        const int lane = threadIdx.x & 31, low = lane & 7, odd = lane >> 3 & 1,
                  high = lane >> 4;
        if (Loader::DEEP)
            load_matrix_x4(r, room + (m + odd * 8 + low) * PITCH + k + high * 8);
        else
            load_matrix_x4_trans(r, room + (k + high * 8 + low) * PITCH + m + odd * 8);
    }
    // The fragments of columns n .. n + 7 and n + 8 .. n + 15 of b, at terms k .. k + 15.
    static DEV_METHOD void right(u32 (&r)[4], const T *room, int n, int k) {
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
DEV void multiply_halves(const A &a, const B &b, int m0, int n0, int k0, int k1,
                         const Output &output) {
    typedef Staged<A, HALVES_M> Left;
    typedef Staged<B, HALVES_N> Right;
    typedef typename A::Number T;
    STATIC_SHARED(T, rooms_a, STAGES * Left::LEN);
    STATIC_SHARED(T, rooms_b, STAGES * Right::LEN);
    Left left_of(a, m0, k0);
    Right right_of(b, n0, k0);
    const int warp = threadIdx.x / 32, row = warp / 2 * 32, col = warp % 2 * 32;
    float sums[2][4][4] = {};

    int asked = k0;  // the first term that nobody has asked for
    const auto ask = [&](int stage) {
        if (asked < k1) {
            left_of.bring(a, rooms_a + stage * Left::LEN);
            right_of.bring(b, rooms_b + stage * Right::LEN);
        }
        asked += HALVES_STEP;
        copy_async_commit();
    };
    for (int stage = 0; stage < STAGES - 1; stage++) ask(stage);
    for (int k = k0, stage = 0; k < k1; k += HALVES_STEP) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        ask(stage ? stage - 1 : STAGES - 1);  // read in the step before
        const T *const room_a = rooms_a + stage * Left::LEN,
                       *const room_b = rooms_b + stage * Right::LEN;
        UNROLL
        for (int at = 0; at < HALVES_STEP; at += 16) {
            u32 left[2][4], right[2][4];
            UNROLL
            for (int i = 0; i < 2; i++) {
                Left::left(left[i], room_a, row + 16 * i, at);
                Right::right(right[i], room_b, col + 16 * i, at);
            }
            UNROLL
            for (int i = 0; i < 8; i++)
                mma(sums[i / 4][i % 4], left[i / 4], &right[i % 4 / 2][i % 2 * 2], T());
        }
        stage = stage + 1 < STAGES ? stage + 1 : 0;
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        put_fragment(sums[i / 4][i % 4], m0 + row + i / 4 * 16, n0 + col + i % 4 * 8, output);
}

#else

#define HALVES_WIDTH 4

template <class A, class B, class Output>
DEV void multiply_halves(const A &a, const B &b, int m0, int n0, int k0, int k1,
                         const Output &output) {
    multiply<HALVES_M / 16, HALVES_N / 16>(a, b, m0, n0, k0, k1, output);
}

#endif
