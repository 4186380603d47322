// One step of the optimiser on one weight; see sgd.cu.
#pragma once
#include "../../cuda/numbers.cuh"

struct Rates {
    float momentum, decay, rate;
};  // the decay times the rate, and the rate of gradients as they are scaled

// Scales are powers of two: nothing is rounded that would not be without.
DEV Rates rates_of(float momentum, float decay, const StepParams *params) {
    return {momentum, __fmul_rn(decay, params->rate), __fmul_rn(params->rate, params->unscale)};
}

// Every rounding is its own, as on the CPU, so that both give the same bits.
DEV void sgd_step(const Rates &rates, float g, float &v, float &w) {
    const float kept = __fsub_rn(__fmul_rn(rates.momentum, v), __fmul_rn(rates.decay, w));
    v = __fsub_rn(kept, __fmul_rn(rates.rate, g));
    w = __fadd_rn(w, v);
}

// Whether weights have a copy that products read: halves of them have.
DEV bool copied(const float *) { return false; }
template <class T>
DEV bool copied(const T *copy) {
    return copy;
}
