// The 2012 update over a flat buffer: v = momentum v - decay rate w - rate g, w = w + v. A
// thread per weight.
#include "sgd.cuh"

KERNEL(256, sgd_f32, const float *g, float *v, float *w, u64 len, float momentum, float decay,
       const StepParams *params) {
    const u32 i = global_thread();
    if (i < len) sgd_step(rates_of(momentum, decay, params), g[i], v[i], w[i]);
}
