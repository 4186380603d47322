// A product of matrices on tensor cores, summed in f32, a tile per block: of halves, or of floats that are
// rounded to tf32 on their way from shared memory.
//
// 256 threads are 8 warps, which share a tile's M by N sums, in steps of 64 bytes of each row or column.
// Copies to shared memory run STAGES - 1 steps ahead of the products; a stage is written again behind the
// barrier that follows its last use. Operands lie in shared memory as they come: [side][k] where they are
// deep, else [k][side], which is turned in reading. Rows are longer than they need be, so that what a warp
// reads at a time lies in different banks.
//
// Each sum adds its terms in the same order whatever the tile: a tile changes the speed and no result.
// Devices before sm_80 widen halves and multiply them by the tiles of tile_f32.cuh; they have no tf32.
#pragma once
#include "tile_f32.cuh"

#ifdef TENSOR_CORES

#define HALVES_WIDTH 8
// What a block may have of shared memory without being asked for.
#define SHARED_BYTES (48 << 10)

DEV void mma(float *d, const u32 *a, const u32 *b, bf16) { mma_bf16(d, a, b); }
DEV void mma(float *d, const u32 *a, const u32 *b, f16) { mma_f16(d, a, b); }
DEV void mma(float *d, const u32 *a, const u32 *b, float) { mma_tf32(d, a, b); }

// What tensor cores multiply of a fragment's numbers.
DEV void round_factors(u32 (&)[4], bf16) {}
DEV void round_factors(u32 (&)[4], f16) {}
DEV void round_factors(u32 (&r)[4], float) {
    UNROLL
    for (int i = 0; i < 4; i++) r[i] = to_tf32(__uint_as_float(r[i]));
}
// A fragment of floats in columns, which ldmatrix does not turn: each lane reads its own.
DEV void load_columns(u32 (&r)[4], const float *p, int second, int third) {
    r[0] = __float_as_uint(p[0]);
    r[1] = __float_as_uint(p[second]);
    r[2] = __float_as_uint(p[third]);
    r[3] = __float_as_uint(p[second + third]);
}

// An operand with SIDE rows or columns in a tile: what one thread brings of it, and what a warp reads.
template <class Loader, int SIDE>
struct Staged {
    typedef typename Loader::Number T;
    static constexpr bool HALVES = sizeof(T) == 2;
    // Numbers that a thread brings at a time, 16 bytes; terms of a step, and of a product of tensor cores.
    static constexpr int WIDTH = 16 / sizeof(T), STEP_TERMS = 4 * WIDTH, DEPTH = 2 * WIDTH;
    static constexpr int PITCH = Loader::DEEP ? STEP_TERMS + WIDTH : SIDE + 8;
    static constexpr int LEN = (Loader::DEEP ? SIDE : STEP_TERMS) * PITCH;
    static constexpr int PASSES = SIDE * STEP_TERMS / WIDTH / TILE_THREADS;
    typename Loader::Row rows[Loader::DEEP ? PASSES : 1];
    typename Loader::Term terms[Loader::DEEP ? 1 : PASSES];

    static DEV_METHOD int side_of(int pass) {
        const int t = threadIdx.x, in_row = STEP_TERMS / WIDTH;
        return Loader::DEEP ? t / in_row + pass * (TILE_THREADS / in_row)
                            : t % (SIDE / WIDTH) * WIDTH;
    }
    static DEV_METHOD int depth_of(int pass) {
        const int t = threadIdx.x, in_row = SIDE / WIDTH;
        return Loader::DEEP ? t % (STEP_TERMS / WIDTH) * WIDTH
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
                T some[WIDTH];
                from.some(row, term, some);
                store16(to, some);
            }
        }
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES); p++) from.next(terms[p], STEP_TERMS);
    }
    // The fragment of rows m .. m + 15 of a, at DEPTH terms from k on.
    static DEV_METHOD void left(u32 (&r)[4], const T *room, int m, int k) {
        const int lane = threadIdx.x & 31, low = lane & 7, odd = lane >> 3 & 1,
                  high = lane >> 4;
        if constexpr (Loader::DEEP)
            load_matrix_x4(r, room + (m + odd * 8 + low) * PITCH + k + high * WIDTH);
        else if constexpr (HALVES)
            load_matrix_x4_trans(r, room + (k + high * WIDTH + low) * PITCH + m + odd * 8);
        else
            load_columns(r, room + (k + (lane & 3)) * PITCH + m + (lane >> 2), 8, 4 * PITCH);
        round_factors(r, T());
    }
    // The fragments of columns n .. n + 7 and n + 8 .. n + 15 of b, at DEPTH terms from k on.
    static DEV_METHOD void right(u32 (&r)[4], const T *room, int n, int k) {
        const int lane = threadIdx.x & 31, low = lane & 7, odd = lane >> 3 & 1,
                  high = lane >> 4;
        if constexpr (Loader::DEEP)
            load_matrix_x4(r, room + (n + high * 8 + low) * PITCH + k + odd * WIDTH);
        else if constexpr (HALVES)
            load_matrix_x4_trans(r, room + (k + odd * WIDTH + low) * PITCH + n + high * 8);
        else
            load_columns(r, room + (k + (lane & 3)) * PITCH + n + (lane >> 2), 4 * PITCH, 8);
        round_factors(r, T());
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

template <int M, int N, class A, class B, class Output>
DEV void multiply_cores(const A &a, const B &b, int m0, int n0, int k0, int k1,
                        const Output &output) {
    typedef Staged<A, M> Left;
    typedef Staged<B, N> Right;
    typedef typename A::Number T;
    constexpr int STAGE_BYTES = (Left::LEN + Right::LEN) * sizeof(T);
    constexpr int STAGES = 3 * STAGE_BYTES <= SHARED_BYTES ? 3 : 2;
    STATIC_SHARED(T, rooms_a, STAGES * Left::LEN);
    STATIC_SHARED(T, rooms_b, STAGES * Right::LEN);
    // Of a tile, a warp makes ROWS by COLUMNS sums, in fragments of 16 by 8.
    constexpr int ROWS = M * N > 128 * 64 ? 64 : 32, COLUMNS = M / ROWS * N / 8;
    constexpr int ACROSS = COLUMNS / 8, FRAGMENTS = ROWS / 16 * ACROSS;
    const int warp = threadIdx.x / 32;
    const int row = warp / (N / COLUMNS) * ROWS, col = warp % (N / COLUMNS) * COLUMNS;
    float sums[FRAGMENTS][4] = {};

    Left left_of(a, m0, k0);
    Right right_of(b, n0, k0);
    int asked = k0;  // the first term that nobody has asked for
    const auto ask = [&](int stage) {
        if (asked < k1) {
            left_of.bring(a, rooms_a + stage * Left::LEN);
            right_of.bring(b, rooms_b + stage * Right::LEN);
        }
        asked += Left::STEP_TERMS;
        copy_async_commit();
    };
    for (int stage = 0; stage < STAGES - 1; stage++) ask(stage);
    for (int k = k0, stage = 0; k < k1; k += Left::STEP_TERMS) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        ask(stage ? stage - 1 : STAGES - 1);  // read in the step before
        const T *const room_a = rooms_a + stage * Left::LEN,
                       *const room_b = rooms_b + stage * Right::LEN;
        UNROLL
        for (int at = 0; at < Left::STEP_TERMS; at += Left::DEPTH) {
            u32 left[ROWS / 16][4], right[COLUMNS / 16][4];
            UNROLL
            for (int i = 0; i < ROWS / 16; i++) Left::left(left[i], room_a, row + 16 * i, at);
            UNROLL
            for (int i = 0; i < COLUMNS / 16; i++)
                Right::right(right[i], room_b, col + 16 * i, at);
            UNROLL
            for (int i = 0; i < FRAGMENTS; i++)
                mma(sums[i], left[i / ACROSS], &right[i % ACROSS / 2][i % 2 * 2], T());
        }
        stage = stage + 1 < STAGES ? stage + 1 : 0;
    }
    UNROLL
    for (int i = 0; i < FRAGMENTS; i++)
        put_fragment(sums[i], m0 + row + i / ACROSS * 16, n0 + col + i % ACROSS * 8, output);
}

#else

#define HALVES_WIDTH 4

template <int M, int N, class A, class B, class Output>
DEV void multiply_cores(const A &a, const B &b, int m0, int n0, int k0, int k1,
                        const Output &output) {
    multiply<M, N>(a, b, m0, n0, k0, k1, output);
}

#endif

// Kernels of products, for every tile of all numbers: K(name, type, numbers that loaders bring at a time,
// rows, columns, product). The twin of tile.rs's `Tile`.
#define FOR_TILES(K, name, T, WIDTH, product)    \
    K(name##_64x64, T, WIDTH, 64, 64, product)   \
    K(name##_128x64, T, WIDTH, 128, 64, product) \
    K(name##_128x128, T, WIDTH, 128, 128, product)
#define FOR_ALL_TILES(K)                                   \
    FOR_TILES(K, f32, float, 4, multiply)                  \
    FOR_TILES(K, bf16, bf16, HALVES_WIDTH, multiply_cores) \
    FOR_TILES(K, f16, f16, HALVES_WIDTH, multiply_cores)   \
    FOR_TF32_TILES(K)
#ifdef TENSOR_CORES
#define FOR_TF32_TILES(K) FOR_TILES(K, tf32, float, 4, multiply_cores)
#else
#define FOR_TF32_TILES(K)
#endif
