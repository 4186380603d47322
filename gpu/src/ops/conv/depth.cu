// Space to depth: a convolution with a stride over few channels becomes one with a stride of 1
// over many.
//
// The first layer's pictures are [n][c][h][w] as the pipeline writes them. A square of s by s
// pixels, s the stride, becomes one pixel of c s s channels, in the order (c, row in the
// square, column in it); squares begin p pixels before the picture, and what lies outside of it
// is zero:
//   packed[n][i][j][(c, a, b)] = x[n, c, s i + a - p, s j + b - p]
//   packed_w[k][u][v][(c, a, b)] = w[k, s u + a, s v + b, c], zero beyond the window
// So 11x11 with a stride of 4 over 3 channels is 3x3 over 48, with 1.19 times the products.
#include "../../cuda/numbers.cuh"

// The twin of cuda.rs's `Packing`: of x and of packed, and the stride.
struct Packing {
    int images, channels, height, width, stride, pad;
    int packed_height, packed_width;
    int kernels, window, packed_window, unused;
};

template <class T>
DEV void pack_pictures(const float *x, T *packed, const Packing &p) {
    const int depth = p.channels * p.stride * p.stride;
    const u32 at = global_thread();
    if (at >= (u32)(p.images * p.packed_height * p.packed_width * depth)) return;
    const int d = at % depth, b = d % p.stride, a = d / p.stride % p.stride,
              c = d / p.stride / p.stride;
    const u32 square = at / depth;
    const int j = square % p.packed_width, i = square / p.packed_width % p.packed_height;
    const int image = square / p.packed_width / p.packed_height;
    const int row = i * p.stride + a - p.pad, col = j * p.stride + b - p.pad;
    const bool inside = (u32)row < (u32)p.height && (u32)col < (u32)p.width;
    packed[at] = narrow<T>(
        inside ? x[((u64)(image * p.channels + c) * p.height + row) * p.width + col] : 0.f);
}

// The weight that packed weight `at` stands for, or -1 if it lies beyond the window.
DEV int packed_from(const Packing &p, int at) {
    const int depth = p.channels * p.stride * p.stride;
    const int d = at % depth, b = d % p.stride, a = d / p.stride % p.stride,
              c = d / p.stride / p.stride;
    const int v = at / depth % p.packed_window * p.stride + b,
              u = at / depth / p.packed_window % p.packed_window * p.stride + a;
    const int k = at / depth / p.packed_window / p.packed_window;
    return u < p.window && v < p.window ? ((k * p.window + u) * p.window + v) * p.channels + c
                                        : -1;
}

template <class T>
DEV void pack_kernels(const T *w, T *packed, const Packing &p) {
    const int at = global_thread(), depth = p.channels * p.stride * p.stride;
    if (at >= p.kernels * p.packed_window * p.packed_window * depth) return;
    const int from = packed_from(p, at);
    packed[at] = from < 0 ? T{} : w[from];
}

// A thread per number of packed; per packed weight.
#define PACK(name, T)                                                             \
    KERNEL(256, space_to_depth_##name, const float *x, T *packed, Packing p) {    \
        pack_pictures(x, packed, p);                                              \
    }                                                                             \
    KERNEL(256, pack_weights_##name, const T *w, T *packed, Packing p) {          \
        pack_kernels(w, packed, p);                                               \
    }
FOR_ALL_NUMBERS(PACK)

// The gradient's way back; what lies beyond the window is dropped. A thread per packed weight.
KERNEL(256, unpack_weights, const float *packed, float *w, Packing p) {
    const int at = global_thread(), depth = p.channels * p.stride * p.stride;
    if (at >= p.kernels * p.packed_window * p.packed_window * depth) return;
    const int to = packed_from(p, at);
    if (to >= 0) w[to] = packed[at];
}
