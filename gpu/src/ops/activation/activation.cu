// y = f(y) in place, y += x, and numbers narrowed to halves. A thread per number.
#include "../activation/activation.cuh"

#define ELEMENTS(name, T)                                         \
    KERNEL(256, activation_##name, T *y, u64 len, int f) {        \
        const u32 i = global_thread();                            \
        if (i < len) y[i] = narrow<T>(activate(f, widen(y[i])));  \
    }                                                             \
    KERNEL(256, add_##name, const T *x, T *y, u64 len) {          \
        const u32 i = global_thread();                            \
        if (i < len) y[i] = narrow<T>(widen(y[i]) + widen(x[i])); \
    }
FOR_ALL_NUMBERS(ELEMENTS)

#define NARROW(T)                                           \
    KERNEL(256, narrow_##T, const float *x, T *y, u64 len) { \
        const u32 i = global_thread();                      \
        if (i < len) y[i] = narrow<T>(x[i]);                \
    }
NARROW(bf16)
NARROW(f16)
