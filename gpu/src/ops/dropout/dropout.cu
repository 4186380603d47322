// Dropout (section 4.2) and its scale at test. Unit u of row i is kept if word u % 4 of
// Philox4x32-10 with the key (seed low, seed high ^ layer) and the counter (u / 4, i, step low,
// step high) is at least the threshold.
#include "../../cuda/numbers.cuh"

DEV void philox(u32 (&k)[2], u32 (&c)[4]) {
    for (int round = 0; round < 10; round++) {
        const u32 low_a = c[0] * 0xd2511f53u, high_a = __umulhi(c[0], 0xd2511f53u);
        const u32 low_b = c[2] * 0xcd9e8d57u, high_b = __umulhi(c[2], 0xcd9e8d57u);
        c[0] = high_b ^ c[1] ^ k[0];
        c[1] = low_b;
        c[2] = high_a ^ c[3] ^ k[1];
        c[3] = low_a;
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
}

// The twin of cuda.rs's `Mask`. `threshold` counts of 2^32 words: it may be 2^32 itself.
struct Mask {
    u64 threshold;
    u32 key[2];
    int rows, units, first_unit, unused;
};

// Zeroes what is dropped of y [rows][units]. A thread per unit: neighbours make the same words,
// which costs less than what they would have to fetch for one another.
template <class T>
DEV void drop(T *y, const Mask &m, const StepParams *params) {
    const u32 i = global_thread(), row = i / m.units, unit = m.first_unit + i % m.units;
    if (row >= (u32)m.rows) return;
    u32 key[2] = {m.key[0], m.key[1]};
    u32 words[4] = {unit / 4, row, params->step[0], params->step[1]};
    philox(key, words);
    const u32 low = unit & 1 ? words[1] : words[0], high = unit & 1 ? words[3] : words[2];
    if ((unit & 2 ? high : low) < m.threshold) y[i] = T{};
}

// And y *= factor.
#define DROPOUT(name, T)                                                        \
    KERNEL(256, dropout_##name, T *y, Mask m, const StepParams *params) {       \
        drop(y, m, params);                                                     \
    }                                                                           \
    KERNEL(256, scale_##name, T *y, u64 len, float factor) {                    \
        const u32 i = global_thread();                                          \
        if (i < len) y[i] = narrow<T>(widen(y[i]) * factor);                    \
    }
FOR_ALL_NUMBERS(DROPOUT)
