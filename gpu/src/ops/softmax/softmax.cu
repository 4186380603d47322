// Softmax, cross-entropy and rank of each row's label.
//
//   p[k] = exp(x[k] - max) / sum, loss = ln(sum) - (x[label] - max)
//   dx[k] = (p[k] - (k == label)) share, 0 in rows whose label is no class
//
// Sums are in double precision, as on the CPU.
#include "../../cuda/prim.cuh"

#define SOFTMAX_THREADS 256u

// The twin of cuda.rs's `RowScore`.
struct RowScore {
    double loss;
    u32 rank;     // classes that are at least as probable as the label
    u32 counted;  // 0: the row's label is no class
};

// The values of all threads, two by two in the same order whatever the schedule; `all` is free
// again after it.
template <class T, class Join>
DEV T join(T *all, T value, Join two) {
    all[threadIdx.x] = value;
    for (u32 half = SOFTMAX_THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            all[threadIdx.x] = two(all[threadIdx.x], all[threadIdx.x + half]);
    }
    __syncthreads();
    const T joined = all[0];
    __syncthreads();
    return joined;
}

// A block per row of x, which becomes p.
KERNEL(SOFTMAX_THREADS, softmax_f32, float *x, const u32 *labels, RowScore *scores,
       int classes) {
    STATIC_SHARED(double, sums, SOFTMAX_THREADS);
    STATIC_SHARED(float, most, SOFTMAX_THREADS);
    float *const p = x + (u64)blockIdx.x * classes;
    const u32 label = labels[blockIdx.x];
    const bool counted = label < (u32)classes;

    float highest = __uint_as_float(0xff800000);  // below all
    for (int k = threadIdx.x; k < classes; k += SOFTMAX_THREADS) highest = fmaxf(highest, p[k]);
    highest = join(most, highest, [](float a, float b) { return fmaxf(a, b); });

    const float logit = counted ? p[label] - highest : 0.f, of_label = expf(logit);
    __syncthreads();  // before the label's becomes p
    double sum = 0., better = 0.;
    for (int k = threadIdx.x; k < classes; k += SOFTMAX_THREADS) {
        p[k] = expf(p[k] - highest);
        sum += p[k];
        better +=
            counted && k != (int)label && !(p[k] < of_label);  // what is not a number is better
    }
    const auto add = [](double a, double b) { return a + b; };
    sum = join(sums, sum, add);
    better = join(sums, better, add);

    const float scale = 1. / sum;
    for (int k = threadIdx.x; k < classes; k += SOFTMAX_THREADS) p[k] *= scale;
    if (threadIdx.x == 0)
        scores[blockIdx.x] = {counted ? log(sum) - (double)logit : 0., (u32)better, counted};
}

// d in place of p [rows][classes]. A thread per number.
KERNEL(256, softmax_backward_f32, float *p, const u32 *labels, int len, int classes,
       const StepParams *params) {
    const u32 i = global_thread();
    if (i >= (u32)len) return;
    const u32 label = labels[i / classes];
    const float d = p[i] - (i % classes == label ? 1.f : 0.f);
    p[i] = label < (u32)classes ? __fmul_rn(d, params->share) : 0.f;
}
