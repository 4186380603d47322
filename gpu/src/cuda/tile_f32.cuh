// A product of matrices in f32, a tile per block: out[m][n] = sum over k of a[m][k] b[n][k].
//
// 256 threads make a tile of 16 TM by 16 TN sums, each TM by TN of them, in steps of 16 terms.
// A step's operands lie in shared memory as [k][m] and [k][n], while the next step's are on
// their way in registers; two such rooms take turns, so that one barrier per step is enough.
//
// Where operands come from, a *loader* says: it splits a pair of indices into a Row and a Term,
// which changes once per step, and loads four numbers at a time, zeros where there are none.
//   DEEP: the four lie along the depth, k .. k + 3; else along the side, m .. m + 3.
//   Row row(int m), Term term(int k), void next(Term &) a step on, float4 load(Row, Term).
// Where sums go, an *output* says: void operator()(int m, int n, const float (&four)[4]), the
// four from n on.
#pragma once
#include "prim.cuh"

// Terms of a step.
#define STEP 16
#define TILE_THREADS 256

// What one thread brings of an operand with SIDE rows or columns in a tile, DEPTH terms at a
// time.
template <class Loader, int SIDE, int DEPTH = STEP>
struct Fetch {
    static constexpr int PASSES = SIDE * DEPTH / 4 / TILE_THREADS;
    // So that the scattered stores of what is deep collide two by two only.
    static constexpr int PITCH = SIDE + 4;
    typename Loader::Row rows[Loader::DEEP ? PASSES : 1];
    typename Loader::Term terms[Loader::DEEP ? 1 : PASSES];
    float4 held[PASSES];

    static DEV_METHOD int side_of(int pass) {
        const int t = threadIdx.x;
        return Loader::DEEP ? t / (DEPTH / 4) + pass * (TILE_THREADS * 4 / DEPTH)
                            : t % (SIDE / 4) * 4;
    }
    static DEV_METHOD int depth_of(int pass) {
        const int t = threadIdx.x;
        return Loader::DEEP ? t % (DEPTH / 4) * 4
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
    DEV_METHOD void load(const Loader &from) {
        UNROLL
        for (int p = 0; p < PASSES; p++)
            held[p] = from.load(rows[Loader::DEEP ? p : 0], terms[Loader::DEEP ? 0 : p]);
    }
    DEV_METHOD void next(const Loader &from) {
        UNROLL
        for (int p = 0; p < (Loader::DEEP ? 1 : PASSES) * (DEPTH / STEP); p++)
            from.next(terms[p / (DEPTH / STEP)]);
    }
    // To a room of [DEPTH][PITCH].
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
template <int TM, int TN, class A, class B, class Output>
DEV void multiply(const A &a, const B &b, int m0, int n0, int k0, int k1,
                  const Output &output) {
    constexpr int M = 16 * TM, N = 16 * TN;
    Fetch<A, M> fetch_a;
    Fetch<B, N> fetch_b;
    constexpr int ROOM_A = STEP * Fetch<A, M>::PITCH, ROOM_B = STEP * Fetch<B, N>::PITCH;
    STATIC_SHARED(float, rooms_a, 2 * ROOM_A);
    STATIC_SHARED(float, rooms_b, 2 * ROOM_B);
    // Each thread's sums come in squares of four by four, which lie 64 apart.
    const int row = threadIdx.x / 16 * 4, col = threadIdx.x % 16 * 4;
    float sums[TM][TN] = {};

    fetch_a.start(a, m0, k0);
    fetch_b.start(b, n0, k0);
    fetch_a.load(a);
    fetch_b.load(b);
    for (int k = k0, turn = 0; k < k1; k += STEP, turn ^= 1) {
        float *const room_a = rooms_a + turn * ROOM_A, *const room_b = rooms_b + turn * ROOM_B;
        fetch_a.store(room_a);
        fetch_b.store(room_b);
        __syncthreads();
        if (k + STEP < k1) {
            fetch_a.next(a);
            fetch_b.next(b);
            fetch_a.load(a);
            fetch_b.load(b);
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
            for (int at = 0; at < TM * TN; at++) {
                const int r = at / TN, c = at % TN;
                sums[r][c] =
                    fmaf(((const float *)left)[r], ((const float *)right)[c], sums[r][c]);
            }
        }
    }
    UNROLL
    for (int at = 0; at < TM * TN; at += 4) {
        const int r = at / TN, c = at % TN;
        const float four[4] = {sums[r][c], sums[r][c + 1], sums[r][c + 2], sums[r][c + 3]};
        output(m0 + r / 4 * 64 + row + r % 4, n0 + c / 4 * 64 + col, four);
    }
}

DEV float4 zeros4() { return make_float4(0.f, 0.f, 0.f, 0.f); }
DEV bool aligned4(const void *p) { return ((u64)p & 15) == 0; }

// Numbers p[0], p[1], .. of which `count` are there.
DEV float4 load_some(const float *p, int count) {
    return make_float4(count > 0 ? p[0] : 0.f, count > 1 ? p[1] : 0.f, count > 2 ? p[2] : 0.f,
                       count > 3 ? p[3] : 0.f);
}

// A matrix in rows, element (m, k) at [m][k].
struct Rows {
    static constexpr bool DEEP = true;
    const float *p;
    int m, k, pitch;
    bool whole;  // quads lie on 16 bytes and within the depth
    struct Row {
        const float *p;
    };
    struct Term {
        int k;
    };
    DEV_METHOD Rows(const float *p, int m, int k, int pitch)
        : p(p), m(m), k(k), pitch(pitch), whole(aligned4(p) && pitch % 4 == 0 && k % 4 == 0) {}
    DEV_METHOD Row row(int i) const { return {i < m ? p + (u64)i * pitch : nullptr}; }
    DEV_METHOD Term term(int k) const { return {k}; }
    DEV_METHOD void next(Term &term) const { term.k += STEP; }
    DEV_METHOD float4 load(const Row &row, const Term &term) const {
        const int left = k - term.k;
        if (!row.p || left <= 0) return zeros4();
        return whole ? load4(row.p + term.k) : load_some(row.p + term.k, left);
    }
};

// A matrix in columns, element (m, k) at [k][m].
struct Columns {
    static constexpr bool DEEP = false;
    const float *p;
    int m, k, pitch;
    bool whole;
    struct Row {
        int m;
    };
    struct Term {
        int k;
    };
    DEV_METHOD Columns(const float *p, int m, int k, int pitch)
        : p(p), m(m), k(k), pitch(pitch), whole(aligned4(p) && pitch % 4 == 0 && m % 4 == 0) {}
    DEV_METHOD Row row(int i) const { return {i}; }
    DEV_METHOD Term term(int k) const { return {k}; }
    DEV_METHOD void next(Term &term) const { term.k += STEP; }
    DEV_METHOD float4 load(const Row &row, const Term &term) const {
        const int left = m - row.m;
        if (term.k >= k || left <= 0) return zeros4();
        const float *from = p + (u64)term.k * pitch + row.m;
        return whole ? load4(from) : load_some(from, left);
    }
};

// The terms of part `part` of `parts` are first .. end: whole steps, as alike as can be.
struct Share {
    int first, end;
};
DEV Share share_of(int terms, int part, int parts) {
    const int steps = (terms + STEP - 1) / STEP, each = (steps + parts - 1) / parts;
    return {min(part * each * STEP, terms), min((part + 1) * each * STEP, terms)};
}

// What becomes of a sum: out[m][n] (+)= sum (+ bias[n]), clipped at 0 if `relu`. If there are
// rooms, each part of the terms leaves its sums in rooms[group][part][m][n], and `join_parts`
// does this with their sum. The twin of tile.rs's `Finished`.
struct Finished {
    float *out;
    const float *bias;
    float *rooms;
    int m, n, pitch, accumulate, relu, unused;

    // To group `group`'s columns and part `part`'s room.
    DEV_METHOD void in_group(int group, int part, int parts) {
        if (rooms) rooms += ((u64)group * parts + part) * m * n;
        out += group * n;
        if (bias) bias += group * n;
    }
    DEV_METHOD float finish(int j, float sum, float before) const {
        if (bias) sum += bias[j];
        if (accumulate) sum += before;
        // What is not a number stays so, to be seen in the loss.
        return relu && sum <= 0.f ? 0.f : sum;
    }
    DEV_METHOD void operator()(int i, int j, const float (&sums)[4]) const {
        if (i >= m) return;
        float *const to = rooms ? rooms + (u64)i * n + j : out + (u64)i * pitch + j;
        if (j + 4 <= n && aligned4(to)) {
            float4 v = make_float4(sums[0], sums[1], sums[2], sums[3]);
            if (!rooms) {
                const float4 b = accumulate ? load4(to) : zeros4();
                v = make_float4(finish(j, v.x, b.x), finish(j + 1, v.y, b.y),
                                finish(j + 2, v.z, b.z), finish(j + 3, v.w, b.w));
            }
            store4(to, v);
            return;
        }
        UNROLL
        for (int e = 0; e < 4; e++)
            if (j + e < n)
                to[e] = rooms ? sums[e] : finish(j + e, sums[e], accumulate ? to[e] : 0.f);
    }
};

// The sums of all parts, added up in their order. A thread per sum of all groups.
KERNEL(256, join_parts, Finished out, int groups, int parts) {
    const u32 each = out.m * out.n, i = global_thread();
    if (i >= groups * each) return;
    const u32 group = i / each, m = i % each / out.n, n = i % out.n;
    const float *from = out.rooms + (u64)group * parts * each + i % each;
    float sum = 0.f;
    for (int part = 0; part < parts; part++) sum += from[(u64)part * each];
    out.in_group(group, 0, parts);
    float *const to = out.out + (u64)m * out.pitch + n;
    *to = out.finish(n, sum, out.accumulate ? *to : 0.f);
}
