// The 2012 update over a flat buffer: v = momentum v - decay rate w - rate g, w = w + v, and the weights as
// products read them. A thread per weight.
#include "sgd.cuh"

#define SGD(name, T)                                                                       \
    KERNEL(256, sgd_##name, const float *g, float *v, float *w, T *copy, u64 len,          \
           float momentum, float decay, const StepParams *params) {                        \
        const u32 i = global_thread();                                                     \
        if (i >= len || params->overflowed) return;                                        \
        sgd_step(rates_of(momentum, decay, params), g[i], v[i], w[i]);                     \
        if (copied(copy)) copy[i] = narrow<T>(w[i]);                                       \
    }
FOR_ALL_NUMBERS(SGD)

// Notes whether any number of a gradient, or of what it is the product of, is not finite: then every update that
// follows in the batch is left out. A thread per number.
template <class T>
DEV void find_overflow(const T *g, u64 len, StepParams *params) {
    const u32 i = global_thread();
    if (i < len && !(fabsf(widen(g[i])) < __uint_as_float(0x7f800000)))
        atomicOr(&params->overflowed, 1u);
}
KERNEL(256, find_overflow_f32, const float *g, u64 len, StepParams *params) {
    find_overflow(g, len, params);
}
KERNEL(256, find_overflow_f16, const f16 *g, u64 len, StepParams *params) {
    find_overflow(g, len, params);
}
