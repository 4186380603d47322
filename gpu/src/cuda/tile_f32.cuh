// A product of matrices in f32, a tile per block: out[m][n] = sum over k of a[m][k] b[n][k].
//
// 256 threads make a tile of M by N sums, each M / 16 by N / 16 of them, in steps of 16 terms.
// A step's operands lie in shared memory as [k][m] and [k][n], while the next step's are on
// their way in registers; two such rooms take turns, so that one barrier per step is enough.
#pragma once
#include "operands.cuh"
#include "sums.cuh"

#define TILE_THREADS 256

// What one thread brings of an operand with SIDE rows or columns in a tile.
template <class Loader, int SIDE>
struct Fetch {
    static constexpr int PASSES = SIDE * STEP / 4 / TILE_THREADS;
    // So that the scattered stores of what is deep collide two by two only.
    static constexpr int PITCH = SIDE + 4;
    typename Loader::Row rows[Loader::DEEP ? PASSES : 1];
    typename Loader::Term terms[Loader::DEEP ? 1 : PASSES];
    float4 held[PASSES];

    static DEV_METHOD int side_of(int pass) {
        const int t = threadIdx.x;
        return Loader::DEEP ? t / (STEP / 4) + pass * (TILE_THREADS * 4 / STEP)
                            : t % (SIDE / 4) * 4;
    }
    static DEV_METHOD int depth_of(int pass) {
        const int t = threadIdx.x;
        return Loader::DEEP ? t % (STEP / 4) * 4
                            : t / (SIDE / 4) + pass * (TILE_THREADS * 4 / SIDE);
    }
    DEV_METHOD void start(const Loader &from, int first, int k) {
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? PASSES : 1); p++)
            rows[p] = from.row(first + side_of(p));
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES); p++)
            terms[p] = from.term(k + depth_of(p));
    }
    DEV_METHOD void bring(const Loader &from) {
        UNROLL
        for (int p = 0; p < PASSES; p++)
            held[p] = load(from, rows[Loader::DEEP ? p : 0], terms[Loader::DEEP ? 0 : p]);
    }
    DEV_METHOD void next(const Loader &from) {
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES); p++) from.next(terms[p], STEP);
    }
    // To a room of [STEP][PITCH].
    DEV_METHOD void store(float *room) const {
        UNROLL
        for (int p = 0; p < PASSES; p++) {
            float *to = room + depth_of(p) * PITCH + side_of(p);
            if (Loader::DEEP) {
                to[0] = held[p].x;
                to[PITCH] = held[p].y;
                to[2 * PITCH] = held[p].z;
                to[3 * PITCH] = held[p].w;
            } else {
                store4(to, held[p]);
            }
        }
    }
};

// The tile of sums whose first are m0 and n0, over the terms k0 .. k1, where the loaders end.
template <int M, int N, class A, class B, class Output>
DEV void multiply(const A &a, const B &b, int m0, int n0, int k0, int k1,
                  const Output &output) {
    constexpr int TM = M / 16, TN = N / 16;
    Fetch<A, M> fetch_a;
    Fetch<B, N> fetch_b;
    constexpr int ROOM_A = STEP * Fetch<A, M>::PITCH, ROOM_B = STEP * Fetch<B, N>::PITCH;
    STATIC_SHARED(float, rooms_a, 2 * ROOM_A);
    STATIC_SHARED(float, rooms_b, 2 * ROOM_B);
    // Each thread's sums come in squares of four by four, which lie 64 apart.
    const int row = threadIdx.x / 16 * 4, col = threadIdx.x % 16 * 4;
    Sums4 sums[TM][TN / 4] = {};

    fetch_a.start(a, m0, k0);
    fetch_b.start(b, n0, k0);
    fetch_a.bring(a);
    fetch_b.bring(b);
    for (int k = k0, turn = 0; k < k1; k += STEP, turn ^= 1) {
        float *const room_a = rooms_a + turn * ROOM_A, *const room_b = rooms_b + turn * ROOM_B;
        fetch_a.store(room_a);
        fetch_b.store(room_b);
        __syncthreads();
        if (k + STEP < k1) {
            fetch_a.next(a);
            fetch_b.next(b);
            fetch_a.bring(a);
            fetch_b.bring(b);
        }
        UNROLL
        for (int i = 0; i < STEP; i++) {
            float4 left[TM / 4], right[TN / 4];
            UNROLL
            for (int q = 0; q < TM / 4; q++)
                left[q] = load4(room_a + i * Fetch<A, M>::PITCH + q * 64 + row);
            UNROLL
            for (int q = 0; q < TN / 4; q++)
                right[q] = load4(room_b + i * Fetch<B, N>::PITCH + q * 64 + col);
            UNROLL
            for (int at = 0; at < TM * TN / 4; at++) {
                const int r = at / (TN / 4), q = at % (TN / 4);
                add_products(sums[r][q], ((const float *)left)[r], right[q]);
            }
        }
    }
    UNROLL
    for (int at = 0; at < TM * TN / 4; at++) {
        const int r = at / (TN / 4), q = at % (TN / 4);
        float four[4];
        take(sums[r][q], four);
        output(m0 + r / 4 * 64 + row + r % 4, n0 + q * 64 + col, four);
    }
}
