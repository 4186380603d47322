// The 2012 update over a flat buffer: v = momentum v - decay rate w - rate g, w = w + v, and the weights as
// products read them. A thread per weight.
#include "sgd.cuh"

#define SGD(name, T)                                                                       \
    KERNEL(256, sgd_##name, const float *g, float *v, float *w, T *copy, u64 len,          \
           float momentum, float decay, const StepParams *params) {                        \
        const u32 i = global_thread();                                                     \
        if (i >= len) return;                                                              \
        sgd_step(rates_of(momentum, decay, params), g[i], v[i], w[i]);                     \
        if (copied(copy)) copy[i] = narrow<T>(w[i]);                                       \
    }
FOR_ALL_NUMBERS(SGD)
