// How a product's terms are split into parts, and what becomes of its sums.
//
// Where sums go, an *output* says: void operator()(int m, int n, const float (&four)[4]), the four from n
// on.
#pragma once
#include "numbers.cuh"

// Terms that parts are whole multiples of.
#define STEP 16

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
template <class T>
struct Finished {
    void *out;  // of T; of floats if `wide`
    const float *bias;
    float *rooms;
    int m, n, pitch, accumulate, relu, wide;

    // To group `group`'s columns and part `part`'s room.
    DEV_METHOD void in_group(int group, int part, int parts) {
        if (rooms) rooms += ((u64)group * parts + part) * m * n;
        out = (char *)out + (u64)group * n * (wide ? sizeof(float) : sizeof(T));
        if (bias) bias += group * n;
    }
    DEV_METHOD float finish(int j, float sum, float before) const {
        if (bias) sum += bias[j];
        if (accumulate) sum += before;
        // What is not a number stays so, to be seen in the loss.
        return relu && sum <= 0.f ? 0.f : sum;
    }
    template <class Out>
    DEV_METHOD void put(Out *to, int j, const float (&sums)[4]) const {
        if (j + 4 <= n && aligned<4>(to)) {
            const float4 b = accumulate ? load4(to) : zeros4();
            store4(to, make_float4(finish(j, sums[0], b.x), finish(j + 1, sums[1], b.y),
                                   finish(j + 2, sums[2], b.z), finish(j + 3, sums[3], b.w)));
            return;
        }
        UNROLL
        for (int e = 0; e < 4; e++)
            if (j + e < n)
                to[e] = narrow<Out>(finish(j + e, sums[e], accumulate ? widen(to[e]) : 0.f));
    }
    DEV_METHOD void leave(float *room, int j, const float (&sums)[4]) const {
        if (j + 4 <= n && aligned<4>(room)) {
            store4(room, make_float4(sums[0], sums[1], sums[2], sums[3]));
            return;
        }
        UNROLL
        for (int e = 0; e < 4; e++)
            if (j + e < n) room[e] = sums[e];
    }
    DEV_METHOD void operator()(int i, int j, const float (&sums)[4]) const {
        if (i >= m) return;
        if (rooms)
            leave(rooms + (u64)i * n + j, j, sums);
        else if (sizeof(T) < sizeof(float) && wide)
            put((float *)out + (u64)i * pitch + j, j, sums);
        else
            put((T *)out + (u64)i * pitch + j, j, sums);
    }
    DEV_METHOD void joined(int i, int j, float sum) const {
        const u64 at = (u64)i * pitch + j;
        if (sizeof(T) < sizeof(float) && wide) {
            float *const to = (float *)out + at;
            *to = finish(j, sum, accumulate ? *to : 0.f);
        } else {
            T *const to = (T *)out + at;
            *to = narrow<T>(finish(j, sum, accumulate ? widen(*to) : 0.f));
        }
    }
};

// The sums of all parts, added up in their order. A thread per sum of all groups.
#define JOIN_PARTS(name, T)                                                     \
    KERNEL(256, join_parts_##name, Finished<T> out, int groups, int parts) {    \
        const u32 each = out.m * out.n, i = global_thread();                    \
        if (i >= groups * each) return;                                         \
        const u32 group = i / each, m = i % each / out.n, n = i % out.n;        \
        float sum = 0.f;                                                        \
        for (int part = 0; part < parts; part++)                                \
            sum += out.rooms[((u64)group * parts + part) * each + i % each];    \
        out.in_group(group, 0, parts);                                          \
        out.joined(m, n, sum);                                                  \
    }
FOR_ALL_NUMBERS(JOIN_PARTS)
