// Convolution as products of matrices (tile_f32.cuh, tile_cores.cuh); nothing is unfolded in
// memory.
//
//   x [n][h][w][g c], w [g k][u][v][row_channels], y [n][oh][ow][g k]; for each group g,
//
//   forward: y[n, i, j, k] =
//       sum over (u, v, c) of x[n, s i + u - p, s j + v - p, c] w[k, u, v, offset + c]
//   backward data: dx[n, i, j, c] =
//       sum over (u, v, k) of dy[n, (i + p - u) / s, (j + p - v) / s, k] w[k, u, v, offset + c]
//   backward weight: dw[k, u, v, offset + c] =
//       sum over (n, i, j) of dy[n, i, j, k] x[n, s i + u - p, s j + v - p, c]
//
// The paper's layers but the first have a stride of 1: then backward data is the forward
// product with turned kernels. The first reads its pictures through `space_to_depth` and has a
// stride of 1 from there on.
#include "../../cuda/tile_cores.cuh"

// The twin of cuda.rs's `Shape`.
struct ConvShape {
    int images, height, width, channels, kernels;  // channels and kernels per group
    int window, stride, pad, out_height, out_width;
    int groups, row_channels, offset;
};

// Term `at` of a window of `depth` channels or kernels: row and column of the window, and which
// of these.
struct Tap {
    int at, u, v, c;
    static DEV_METHOD Tap of(int at, int window, int depth) {
        return {at, at / depth / window, at / depth % window, at % depth};
    }
    DEV_METHOD void advance(int step, int window, int depth) {
        at += step;
        for (c += step; c >= depth; c -= depth)
            if (++v == window) {
                v = 0;
                ++u;
            }
    }
};

// An output pixel, or an input pixel: `at` counts over all images.
struct Place {
    int at, image, i, j;
    static DEV_METHOD Place of(int at, int height, int width) {
        return {at, at / width / height, at / width % height, at % width};
    }
    DEV_METHOD void advance(int step, int height, int width) {
        at += step;
        for (j += step; j >= width; j -= width)
            if (++i == height) {
                i = 0;
                ++image;
            }
    }
};

// Pixels that a product gathers: of x for y (forward), or of dy for dx (BACK). Rows are places,
// terms taps.
template <bool BACK, class T, int WIDTH>
struct Gather {
    static constexpr bool DEEP = true;
    typedef T Number;
    const T *p;  // the group's first channel
    int end, window, stride, height, width, depth, pitch, images, over, across, origin;
    bool whole;
    struct Row {
        const T *image;
        int i, j;
    };
    typedef Tap Term;

    DEV_METHOD Gather(const ConvShape &s, const T *all, int group, int end)
        : end(end), window(s.window), stride(s.stride), height(BACK ? s.out_height : s.height),
          width(BACK ? s.out_width : s.width), depth(BACK ? s.kernels : s.channels),
          images(s.images), over(BACK ? s.height : s.out_height),
          across(BACK ? s.width : s.out_width), origin(BACK ? s.pad : -s.pad) {
        p = all + group * depth;
        pitch = depth * s.groups;
        whole = depth % WIDTH == 0 && aligned<WIDTH>(p);
    }
    DEV_METHOD Row row(int m) const {
        if (m >= images * over * across) return {nullptr, 0, 0};
        const Place place = Place::of(m, over, across);
        const int step = BACK ? 1 : stride;
        return {p + (u64)place.image * height * width * pitch, place.i * step + origin,
                place.j * step + origin};
    }
    DEV_METHOD Term term(int k) const { return Tap::of(k, window, depth); }
    DEV_METHOD void next(Term &tap, int step) const { tap.advance(step, window, depth); }
    // The group's channels of a pixel; null where the window hangs over or a stride passes by.
    DEV_METHOD const T *pixel(const Row &row, const Tap &tap) const {
        int i = BACK ? row.i - tap.u : row.i + tap.u, j = BACK ? row.j - tap.v : row.j + tap.v;
        if (BACK && stride > 1) {
            if (i < 0 || j < 0 || i % stride || j % stride) return nullptr;
            i /= stride;
            j /= stride;
        }
        if ((u32)i >= (u32)height || (u32)j >= (u32)width) return nullptr;
        return row.image + (u64)(i * width + j) * pitch;
    }
    DEV_METHOD const T *chunk(const Row &row, const Term &tap) const {
        const T *const from = row.image && tap.at < end ? pixel(row, tap) : nullptr;
        return from ? from + tap.c : nullptr;
    }
    DEV_METHOD void some(const Row &row, const Term &tap, T (&to)[WIDTH]) const {
        Tap each = tap;
        UNROLL
        for (int e = 0; e < WIDTH; e++, each.advance(1, window, depth)) {
            const T *const from = row.image && each.at < end ? pixel(row, each) : nullptr;
            to[e] = from ? from[each.c] : T{};
        }
    }
};

// Weights of the forward product: rows are kernels, terms taps.
template <class T, int WIDTH>
struct Kernels {
    static constexpr bool DEEP = true;
    typedef T Number;
    const T *p;  // the group's first kernel, at the source's first channel
    int kernels, end, window, channels, pitch;
    bool whole;
    struct Row {
        const T *kernel;
    };
    typedef Tap Term;

    DEV_METHOD Kernels(const ConvShape &s, const T *all, int group, int end)
        : kernels(s.kernels), end(end), window(s.window), channels(s.channels),
          pitch(s.row_channels) {
        p = all + (u64)group * kernels * window * window * pitch + s.offset;
        whole = channels % WIDTH == 0 && pitch % WIDTH == 0 && aligned<WIDTH>(p);
    }
    DEV_METHOD Row row(int m) const {
        return {m < kernels ? p + (u64)m * window * window * pitch : nullptr};
    }
    DEV_METHOD Term term(int k) const { return Tap::of(k, window, channels); }
    DEV_METHOD void next(Term &tap, int step) const { tap.advance(step, window, channels); }
    DEV_METHOD const T *chunk(const Row &row, const Term &tap) const {
        return row.kernel && tap.at < end
                   ? row.kernel + (tap.u * window + tap.v) * pitch + tap.c
                   : nullptr;
    }
    DEV_METHOD void some(const Row &row, const Term &tap, T (&to)[WIDTH]) const {
        Tap each = tap;
        UNROLL
        for (int e = 0; e < WIDTH; e++, each.advance(1, window, channels))
            to[e] = row.kernel && each.at < end
                        ? row.kernel[(each.u * window + each.v) * pitch + each.c]
                        : T{};
    }
};

// Weights of the product to the data: rows are channels, terms (u, v, kernel).
template <class T, int WIDTH>
struct TurnedKernels {
    static constexpr bool DEEP = false;
    typedef T Number;
    const T *p;
    int kernels, end, window, channels, pitch;
    bool whole;
    struct Row {
        int c;
    };
    typedef Tap Term;

    DEV_METHOD TurnedKernels(const ConvShape &s, const T *all, int group, int end)
        : kernels(s.kernels), end(end), window(s.window), channels(s.channels),
          pitch(s.row_channels) {
        p = all + (u64)group * kernels * window * window * pitch + s.offset;
        whole = channels % WIDTH == 0 && pitch % WIDTH == 0 && aligned<WIDTH>(p);
    }
    DEV_METHOD Row row(int m) const { return {m}; }
    DEV_METHOD Term term(int k) const { return Tap::of(k, window, kernels); }
    DEV_METHOD void next(Term &tap, int step) const { tap.advance(step, window, kernels); }
    DEV_METHOD const T *chunk(const Row &row, const Term &tap) const {
        if (tap.at >= end || row.c >= channels) return nullptr;
        return p + (u64)((tap.c * window + tap.u) * window + tap.v) * pitch + row.c;
    }
    DEV_METHOD void some(const Row &row, const Term &tap, T (&to)[WIDTH]) const {
        const T *const from = chunk(row, tap);
        UNROLL
        for (int e = 0; e < WIDTH; e++) to[e] = from && row.c + e < channels ? from[e] : T{};
    }
};

// Pixels of the product to the weights: rows are taps of x, terms places of y.
template <class T, int WIDTH>
struct Patches {
    static constexpr bool DEEP = false;
    typedef T Number;
    const T *p;
    int taps, end, window, stride, height, width, channels, pitch, over, across, pad;
    bool whole;
    struct Row {
        Tap tap;
    };
    typedef Place Term;

    DEV_METHOD Patches(const ConvShape &s, const T *all, int group, int end)
        : taps(s.window * s.window * s.channels), end(end), window(s.window), stride(s.stride),
          height(s.height), width(s.width), channels(s.channels), pitch(s.channels * s.groups),
          over(s.out_height), across(s.out_width), pad(s.pad) {
        p = all + group * channels;
        whole = channels % WIDTH == 0 && aligned<WIDTH>(p);
    }
    DEV_METHOD Row row(int m) const { return {Tap::of(m, window, channels)}; }
    DEV_METHOD Term term(int k) const { return Place::of(k, over, across); }
    DEV_METHOD void next(Term &place, int step) const { place.advance(step, over, across); }
    DEV_METHOD const T *pixel(const Place &place, const Tap &tap) const {
        const int i = place.i * stride + tap.u - pad, j = place.j * stride + tap.v - pad;
        if ((u32)i >= (u32)height || (u32)j >= (u32)width) return nullptr;
        return p + ((u64)(place.image * height + i) * width + j) * pitch;
    }
    DEV_METHOD const T *chunk(const Row &row, const Term &place) const {
        const bool there = place.at < end && row.tap.at < taps;
        const T *const from = there ? pixel(place, row.tap) : nullptr;
        return from ? from + row.tap.c : nullptr;
    }
    DEV_METHOD void some(const Row &row, const Term &place, T (&to)[WIDTH]) const {
        Tap each = row.tap;
        UNROLL
        for (int e = 0; e < WIDTH; e++, each.advance(1, window, channels)) {
            const bool there = place.at < end && each.at < taps;
            const T *const from = there ? pixel(place, each) : nullptr;
            to[e] = from ? from[each.c] : T{};
        }
    }
};

// Blocks: x the tiles of places, y those of kernels or channels, z (group, part of the terms).
#define CONV(name, T, WIDTH, M, N, product)                                            \
    KERNEL(TILE_THREADS, conv_forward_##name, const T *x, const T *w, Finished<T> out, \
           ConvShape s, int parts) {                                                   \
        const int group = blockIdx.z / parts, part = blockIdx.z % parts;               \
        const Share share = share_of(s.window * s.window * s.channels, part, parts);   \
        out.in_group(group, part, parts);                                              \
        product<M, N>(Gather<false, T, WIDTH>(s, x, group, share.end),                 \
                      Kernels<T, WIDTH>(s, w, group, share.end), blockIdx.x *M,        \
                      blockIdx.y *N, share.first, share.end, out);                     \
    }                                                                                  \
    KERNEL(TILE_THREADS, conv_backward_data_##name, const T *dy, const T *w,           \
           Finished<T> out, ConvShape s, int parts) {                                  \
        const int group = blockIdx.z / parts, part = blockIdx.z % parts;               \
        const Share share = share_of(s.window * s.window * s.kernels, part, parts);    \
        out.in_group(group, part, parts);                                              \
        product<M, N>(Gather<true, T, WIDTH>(s, dy, group, share.end),                 \
                      TurnedKernels<T, WIDTH>(s, w, group, share.end), blockIdx.x *M,  \
                      blockIdx.y *N, share.first, share.end, out);                     \
    }
FOR_ALL_TILES(CONV)

// Blocks: x the tiles of taps, y those of kernels, z (group, part of the places). Every part
// leaves its sums in rooms[group][part][k][u][v][c].
#define CONV_WEIGHT(name, T, WIDTH, M, N, product)                                            \
    KERNEL(TILE_THREADS, conv_backward_weight_##name, const T *x, const T *dy,                \
           Finished<float> out, ConvShape s, int parts) {                                     \
        const int group = blockIdx.z / parts, part = blockIdx.z % parts;                      \
        const Share share = share_of(s.images * s.out_height * s.out_width, part, parts);     \
        out.in_group(group, part, parts);                                                     \
        const T *const of_group = dy + group * s.kernels;                                     \
        product<M, N>(Columns<T, WIDTH>(of_group, s.kernels, share.end, s.kernels *s.groups), \
                      Patches<T, WIDTH>(s, x, group, share.end), blockIdx.y *M,               \
                      blockIdx.x *N, share.first, share.end, out);                            \
    }
FOR_ALL_TILES(CONV_WEIGHT)

// dw from the sums of its parts, added up in their order. A thread per weight of this source.
KERNEL(256, conv_join_weight, const float *rooms, float *dw, ConvShape s, int parts) {
    const u32 taps = s.window * s.window * s.channels, each = s.kernels * taps;
    const u32 i = global_thread();
    if (i >= s.groups * each) return;
    const u32 group = i / each, at = i % each, tap = at % taps;
    const float *from = rooms + (u64)group * parts * each + at;
    float sum = 0.f;
    for (int part = 0; part < parts; part++) sum += from[(u64)part * each];
    const u64 row =
        (u64)(group * s.kernels + at / taps) * s.window * s.window + tap / s.channels;
    dw[row * s.row_channels + s.offset + tap % s.channels] = sum;
}
