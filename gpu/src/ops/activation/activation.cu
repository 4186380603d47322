// y = f(y) in place, and y += x. A thread per number.
#include "../activation/activation.cuh"

KERNEL(256, activation_f32, float *y, u64 len, int f) {
    const u32 i = global_thread();
    if (i < len) y[i] = activate(f, y[i]);
}

KERNEL(256, add_f32, const float *x, float *y, u64 len) {
    const u32 i = global_thread();
    if (i < len) y[i] += x[i];
}
