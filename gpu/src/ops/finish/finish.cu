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

// The window of LRN around a channel, within its group: first .. end.
struct Channels {
    int first, end;
    static DEV_METHOD Channels of(const FinishShape &s, int c) {
        const int group = c / s.lrn_group * s.lrn_group, half = s.lrn_size / 2;
        return {max(c - half, group), min(c + half + 1, group + s.lrn_group)};
    }
};

// scale^-beta and 1 / scale for the paper's beta, from a guess of scale^(-1/4): lrn/cpu.rs says how.
DEV float2 shrink_three_quarters(float scale) {
    const float quarter = __fmul_rn(0.25f, scale);
    float root = __uint_as_float(0x4f584770u - (__float_as_uint(scale) >> 2));
    for (int step = 0; step < 2; step++) {
        const float square = __fmul_rn(root, root);
        const float excess = __fmul_rn(quarter, __fmul_rn(square, square));
        root = __fmul_rn(root, __fsub_rn(1.25f, excess));
    }
    const float square = __fmul_rn(root, root);
    const float cube = __fmul_rn(square, root), fourth = __fmul_rn(square, square);
    const float missing = __fsub_rn(1.f, __fmul_rn(scale, fourth));
    const float power = __fadd_rn(cube, __fmul_rn(cube, __fmul_rn(0.75f, missing)));
    return make_float2(power, __fadd_rn(fourth, __fmul_rn(fourth, missing)));
}

// scale^-beta and 1 / scale, given a pixel's channels.
template <class Read>
DEV float2 shrink(const FinishShape &s, int c, Read a) {
    const Channels around = Channels::of(s, c);
    float sum = 0.f;
    for (int j = around.first; j < around.end; j++) sum = __fadd_rn(sum, __fmul_rn(a(j), a(j)));
    const float scale = __fadd_rn(s.k, __fmul_rn(s.alpha, sum));
    if (s.beta == 0.75f) return shrink_three_quarters(scale);
    return make_float2(powf(scale, -s.beta), __fdiv_rn(1.f, scale));
}

// A pixel: its image, row and column.
struct Pixel {
    int image, i, j;
    static DEV_METHOD Pixel of(u32 at, int height, int width) {
        const u32 row = at / width;
        return {(int)(row / height), (int)(row % height), (int)(at % width)};
    }
};

// What is pooled, or handed on as it is.
template <class T>
DEV float normalised(const FinishShape &s, const T *pixel, int c) {
    const auto a = [&](int j) { return read_activation(s, widen(pixel[j])); };
    return s.lrn_size ? __fmul_rn(a(c), shrink(s, c, a).x) : a(c);
}

// The first maximum of a window in the order of rows: its value, and which of the window's
// pixels it is.
template <class T>
DEV float largest(const FinishShape &s, const T *y, const Pixel &window, int c, int &tap) {
    const int row = window.image * s.height + window.i * s.stride;
    const T *from = y + (u64)(row * s.width + window.j * s.stride) * s.channels;
    float most = 0.f;
    tap = 0;
    for (int u = 0, t = 0; u < s.window; u++, from += (u64)(s.width - s.window) * s.channels)
        for (int v = 0; v < s.window; v++, t++, from += s.channels) {
            const float found = normalised(s, from, c);
            if (t == 0 || found > most) {
                most = found;
                tap = t;
            }
        }
    return most;
}

// Of a layer with LRN or pooling.
template <class T>
DEV void finish_forward(const T *y, T *out, const FinishShape &s) {
    const u32 at = global_thread(), pixel = at / s.channels, c = at % s.channels;
    if (!s.window) {
        if (pixel < (u32)(s.images * s.height * s.width))
            out[at] = narrow<T>(normalised(s, y + (u64)pixel * s.channels, c));
        return;
    }
    const Pixel window = Pixel::of(pixel, s.out_height, s.out_width);
    int tap;
    if (window.image < s.images) out[at] = narrow<T>(largest(s, y, window, c, tap));
}

// Which pixel of each window is the largest, as a byte.
template <class T>
DEV void pool_taps(const T *y, unsigned char *taps, const FinishShape &s) {
    const u32 at = global_thread(), pixel = at / s.channels;
    const Pixel window = Pixel::of(pixel, s.out_height, s.out_width);
    if (window.image >= s.images) return;
    int tap;
    largest(s, y, window, at % s.channels, tap);
    taps[at] = tap;
}

// The windows that a row or column of pixels is part of: first .. end.
struct Windows {
    int first, end;
    static DEV_METHOD Windows over(int at, const FinishShape &s, int count) {
        return {max(at - s.window + s.stride, 0) / s.stride, min(at / s.stride + 1, count)};
    }
};

// The gradient of what is pooled, from the windows that chose this pixel.
template <class T>
DEV float pooled_gradient(const FinishShape &s, const T *d, const unsigned char *taps,
                          const Pixel &pixel, const Windows &rows, const Windows &cols, int c) {
    float sum = 0.f;
    for (int i = rows.first; i < rows.end; i++)
        for (int j = cols.first; j < cols.end; j++) {
            const int window = (pixel.image * s.out_height + i) * s.out_width + j;
            const u64 at = (u64)window * s.channels + c;
            const int tap = (pixel.i - i * s.stride) * s.window + pixel.j - j * s.stride;
            if (taps[at] == tap) sum += widen(d[at]);
        }
    return sum;
}

// y becomes the gradient of the product. 32 threads per pixel, PIXELS pixels per block; with
// LRN, dynamic shared memory holds [PIXELS][3][channels]: a, q a / scale, and q.
template <class T>
DEV void finish_backward(const T *d, const unsigned char *taps, T *y, const FinishShape &s) {
    const u32 at = blockIdx.x * PIXELS + threadIdx.y;
    const bool there = at < (u32)(s.images * s.height * s.width);
    const int channels = there ? s.channels : 0;
    T *const mine = y + (u64)at * s.channels;
    const Pixel pixel = Pixel::of(at, s.height, s.width);
    Windows rows{}, cols{};
    if (s.window) {
        rows = Windows::over(pixel.i, s, s.out_height);
        cols = Windows::over(pixel.j, s, s.out_width);
    }
    const auto gradient = [&](int c) {
        return s.window ? pooled_gradient(s, d, taps, pixel, rows, cols, c)
                        : widen(d[(u64)at * s.channels + c]);
    };
    if (!s.lrn_size) {
        for (int c = threadIdx.x; c < channels; c += 32)
            mine[c] = narrow<T>(activation_gradient(
                s.activation, read_activation(s, widen(mine[c])), gradient(c)));
        return;
    }
    DYNAMIC_SHARED(float, rooms);
    float *const a = rooms + threadIdx.y * 3 * s.channels, *const shares = a + s.channels,
                 *const kept = shares + s.channels;
    for (int c = threadIdx.x; c < channels; c += 32) a[c] = read_activation(s, widen(mine[c]));
    __syncthreads();
    for (int c = threadIdx.x; c < channels; c += 32) {
        const float2 power = shrink(s, c, [&](int j) { return a[j]; });
        const float q = __fmul_rn(gradient(c), power.x);
        shares[c] = __fmul_rn(__fmul_rn(q, a[c]), power.y);
        kept[c] = q;
    }
    __syncthreads();
    for (int c = threadIdx.x; c < channels; c += 32) {
        const Channels around = Channels::of(s, c);
        float sum = 0.f;
        for (int j = around.first; j < around.end; j++) sum = __fadd_rn(sum, shares[j]);
        const float da = __fsub_rn(kept[c], __fmul_rn(__fmul_rn(s.factor, a[c]), sum));
        mine[c] = narrow<T>(activation_gradient(s.activation, a[c], da));
    }
}

// Forward and for the taps, a thread per number that is handed on.
#define FINISH(name, T)                                                                      \
    KERNEL(256, finish_forward_##name, const T *y, T *out, FinishShape s) {                  \
        finish_forward(y, out, s);                                                           \
    }                                                                                        \
    KERNEL(256, pool_taps_##name, const T *y, unsigned char *taps, FinishShape s) {          \
        pool_taps(y, taps, s);                                                               \
    }                                                                                        \
    KERNEL(32 * PIXELS, finish_backward_##name, const T *d, const unsigned char *taps, T *y, \
           FinishShape s) {                                                                  \
        finish_backward(d, taps, y, s);                                                      \
    }
FOR_ALL_NUMBERS(FINISH)
