// What follows a product y [n][h][w][c]: out = pool(lrn(f(y))), and the way back.
//
//   lrn[c] = a[c] scale^-beta, where a = f(y), scale[c] = k + alpha sum_j a[j]^2
//   da[c] = q[c] - 2 alpha beta a[c] sum_j q[j] a[j] / scale[j], where q = d scale^-beta
// over the window of channels j around c.
//
// Each rounding of LRN is its own and in the CPU's order, so that both give the same bits and
// find the same maxima. f is applied as y is read; only tanh, which costs more, has been stored
// before (activation.cu).
#include "../activation/activation.cuh"

// The twin of cuda.rs's `Shape`; sizes of 0: no LRN, no pooling.
struct FinishShape {
    int images, height, width, channels, activation;
    int lrn_size, lrn_group;       // channels of a tower
    float alpha, beta, k, factor;  // factor: 2 alpha beta
    int window, stride, out_height, out_width, unused;
};

#define PIXELS 8  // of a block

DEV float read_activation(const FinishShape &s, float y) {
    return s.activation == RELU ? activate(RELU, y) : y;
}

// scale^-beta and 1 / scale, given a pixel's channels.
template <class Read>
DEV float2 shrink(const FinishShape &s, int c, Read a) {
    const int first = c / s.lrn_group * s.lrn_group, half = s.lrn_size / 2;
    const int begin = max(c - half, first), end = min(c + half + 1, first + s.lrn_group);
    float sum = 0.f;
    for (int j = begin; j < end; j++) sum = __fadd_rn(sum, __fmul_rn(a(j), a(j)));
    const float scale = __fadd_rn(s.k, __fmul_rn(s.alpha, sum));
    if (s.beta == 0.75f) {
        const float root = __fsqrt_rn(scale);
        const float power = __fdiv_rn(1.f, __fmul_rn(root, __fsqrt_rn(root)));
        return make_float2(power, __fmul_rn(__fmul_rn(power, power), root));
    }
    return make_float2(powf(scale, -s.beta), __fdiv_rn(1.f, scale));
}

// What is pooled, or handed on as it is.
DEV float normalised(const FinishShape &s, const float *pixel, int c) {
    const auto a = [&](int j) { return read_activation(s, pixel[j]); };
    return s.lrn_size ? __fmul_rn(a(c), shrink(s, c, a).x) : a(c);
}

// The first maximum of a window in the order of rows: its value, and which of the window's
// pixels it is.
DEV float largest(const FinishShape &s, const float *y, int image, int i, int j, int c,
                  int &tap) {
    float most = 0.f;
    tap = 0;
    for (int t = 0; t < s.window * s.window; t++) {
        const int row = i * s.stride + t / s.window, col = j * s.stride + t % s.window;
        const float v =
            normalised(s, y + ((u64)(image * s.height + row) * s.width + col) * s.channels, c);
        if (t == 0 || v > most) {
            most = v;
            tap = t;
        }
    }
    return most;
}

// A thread per number that is handed on, of a layer with LRN or pooling.
KERNEL(256, finish_forward_f32, const float *y, float *out, FinishShape s) {
    const u64 at = global_thread();
    const int height = s.window ? s.out_height : s.height,
              width = s.window ? s.out_width : s.width;
    if (at >= (u64)s.images * height * width * s.channels) return;
    const int c = at % s.channels;
    const u64 pixel = at / s.channels;
    int tap;
    out[at] = s.window ? largest(s, y, pixel / width / height, pixel / width % height,
                                 pixel % width, c, tap)
                       : normalised(s, y + pixel * s.channels, c);
}

// Which pixel of each window is the largest, as a byte. A thread per number that was handed on.
KERNEL(256, pool_taps_f32, const float *y, unsigned char *taps, FinishShape s) {
    const u64 at = global_thread();
    if (at >= (u64)s.images * s.out_height * s.out_width * s.channels) return;
    const u64 pixel = at / s.channels;
    int tap;
    largest(s, y, pixel / s.out_width / s.out_height, pixel / s.out_width % s.out_height,
            pixel % s.out_width, at % s.channels, tap);
    taps[at] = tap;
}

// The gradient of what is pooled, from the windows that chose this pixel; without pooling, d
// itself.
DEV float pooled_gradient(const FinishShape &s, const float *d, const unsigned char *taps,
                          u64 pixel, int c) {
    if (!s.window) return d[pixel * s.channels + c];
    const int col = pixel % s.width, row = pixel / s.width % s.height;
    const u64 image = pixel / s.width / s.height;
    float sum = 0.f;
    for (int i = max(row - s.window + s.stride, 0) / s.stride;
         i <= min(row / s.stride, s.out_height - 1); i++)
        for (int j = max(col - s.window + s.stride, 0) / s.stride;
             j <= min(col / s.stride, s.out_width - 1); j++) {
            const u64 at = ((image * s.out_height + i) * s.out_width + j) * s.channels + c;
            if (taps[at] == (row - i * s.stride) * s.window + col - j * s.stride) sum += d[at];
        }
    return sum;
}

// y becomes the gradient of the product. 32 threads per pixel, PIXELS pixels per block; with
// LRN, dynamic shared memory holds [PIXELS][2][channels]: a, and q a / scale.
KERNEL(32 * PIXELS, finish_backward_f32, const float *d, const unsigned char *taps, float *y,
       FinishShape s) {
    const u64 pixel = (u64)blockIdx.x * PIXELS + threadIdx.y;
    const bool there = pixel < (u64)s.images * s.height * s.width;
    float *const mine = y + pixel * s.channels;
    if (!s.lrn_size) {
        for (int c = threadIdx.x; there && c < s.channels; c += 32) {
            const float a = read_activation(s, mine[c]);
            mine[c] =
                activation_gradient(s.activation, a, pooled_gradient(s, d, taps, pixel, c));
        }
        return;
    }
    DYNAMIC_SHARED(float, rooms);
    float *const a = rooms + threadIdx.y * 2 * s.channels, *const shares = a + s.channels;
    for (int c = threadIdx.x; there && c < s.channels; c += 32)
        a[c] = read_activation(s, mine[c]);
    __syncthreads();
    for (int c = threadIdx.x; there && c < s.channels; c += 32) {
        const float2 power = shrink(s, c, [&](int j) { return a[j]; });
        const float q = __fmul_rn(pooled_gradient(s, d, taps, pixel, c), power.x);
        shares[c] = __fmul_rn(__fmul_rn(q, a[c]), power.y);
        mine[c] = q;
    }
    __syncthreads();
    for (int c = threadIdx.x; there && c < s.channels; c += 32) {
        const int first = c / s.lrn_group * s.lrn_group, half = s.lrn_size / 2;
        const int begin = max(c - half, first), end = min(c + half + 1, first + s.lrn_group);
        float sum = 0.f;
        for (int j = begin; j < end; j++) sum = __fadd_rn(sum, shares[j]);
        const float da = __fsub_rn(mine[c], __fmul_rn(__fmul_rn(s.factor, a[c]), sum));
        mine[c] = activation_gradient(s.activation, a[c], da);
    }
}
