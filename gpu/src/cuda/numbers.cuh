// Numbers as memory holds them: float, or halves of 16 bits. Kernels compute in float whichever it is.
#pragma once
#include "prim.cuh"

// The upper half of a float.
struct bf16 {
    u16 bits;
};
// Half precision of IEEE 754: eleven bits, from 2^-24 to 65504.
struct f16 {
    u16 bits;
};

// Kernels that memory's numbers make differ, once for each: K(name, type).
#define FOR_ALL_NUMBERS(K) K(f32, float) K(bf16, bf16) K(f16, f16)

DEV float widen(float x) { return x; }
DEV float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
DEV float widen(f16 x) { return from_f16(x.bits); }

template <class T>
struct Narrow;
template <>
struct Narrow<float> {
    static DEV_METHOD float of(float x) { return x; }
};
template <>
struct Narrow<bf16> {
    static DEV_METHOD bf16 of(float x) { return {(u16)to_bf16x2(x, 0.f)}; }
    static DEV_METHOD u32 two(float low, float high) { return to_bf16x2(low, high); }
};
template <>
struct Narrow<f16> {
    static DEV_METHOD f16 of(float x) { return {to_f16(x)}; }
    static DEV_METHOD u32 two(float low, float high) { return to_f16x2(low, high); }
};
// Rounded to nearest even.
template <class T>
DEV T narrow(float x) {
    return Narrow<T>::of(x);
}

// Four neighbours in one access, aligned.
DEV float4 load4(const float *p) { return load_floats(p); }
DEV void store4(float *p, float4 v) { store_floats(p, v); }
DEV float4 load4(const bf16 *p) {
    const uint2 v = load_words(p);
    return make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u),
                       __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xffff0000u));
}
DEV float4 load4(const f16 *p) {
    const uint2 v = load_words(p);
    return make_float4(from_f16((u16)v.x), from_f16((u16)(v.x >> 16)), from_f16((u16)v.y),
                       from_f16((u16)(v.y >> 16)));
}
template <class T>
DEV void store4(T *p, float4 v) {
    store_words(p, Narrow<T>::two(v.x, v.y), Narrow<T>::two(v.z, v.w));
}

// Sixteen bytes in one access, aligned.
DEV void store16(float *p, const float (&v)[4]) {
    store4(p, make_float4(v[0], v[1], v[2], v[3]));
}
template <class Half>
DEV void store16(Half *p, const Half (&v)[8]) {
    u32 words[4];
    UNROLL
    for (int e = 0; e < 4; e++) words[e] = v[2 * e].bits | (u32)v[2 * e + 1].bits << 16;
    store_words(p, words[0], words[1], words[2], words[3]);
}

// Whether COUNT numbers from p on may be taken in one access.
template <int COUNT, class T>
DEV bool aligned(const T *p) {
    return ((u64)p & (COUNT * sizeof(T) - 1)) == 0;
}
DEV float4 zeros4() { return make_float4(0.f, 0.f, 0.f, 0.f); }
