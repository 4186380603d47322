// The products of a fully-connected layer (tile_f32.cuh, tile_cores.cuh).
//
//   x [n][inputs], y [n][outputs], w [outputs][weight_inputs], of which the columns
//   offset .. offset + inputs are this source's;
//
//   forward: y[n, k] = sum over c of x[n, c] w[k, offset + c]
//   backward data: dx[n, c] = sum over k of dy[n, k] w[k, offset + c]
//   update: a step of the optimiser by dw[k, c] = sum over n of dy[n, k] x[n, c], not kept
#include "../../cuda/tile_cores.cuh"
#include "../sgd/sgd.cuh"

// The twin of cuda.rs's `Shape`.
struct LinearShape {
    int images, inputs, outputs, weight_inputs, offset, unused;
};

// Gradients that become steps of the optimiser; products read `copy` of the weights, where they are halves.
template <class T>
struct Step {
    float *v, *w;
    T *copy;
    int m, n, pitch;
    Rates rates;
    DEV_METHOD void operator()(int i, int j, const float (&g)[4]) const {
        if (i >= m) return;
        const u64 at = (u64)i * pitch + j;
        float *const of_v = v + at, *const of_w = w + at;
        T *const of_copy = copy + at;
        if (j + 4 <= n && aligned<4>(of_v) && aligned<4>(of_w)) {
            float4 vs = load4(of_v), ws = load4(of_w);
            sgd_step(rates, g[0], vs.x, ws.x);
            sgd_step(rates, g[1], vs.y, ws.y);
            sgd_step(rates, g[2], vs.z, ws.z);
            sgd_step(rates, g[3], vs.w, ws.w);
            store4(of_v, vs);
            store4(of_w, ws);
            // As aligned as the weights: both begin so.
            if (copied(copy)) store4(of_copy, ws);
            return;
        }
        UNROLL
        for (int e = 0; e < 4; e++)
            if (j + e < n) {
                sgd_step(rates, g[e], of_v[e], of_w[e]);
                if (copied(copy)) of_copy[e] = narrow<T>(of_w[e]);
            }
    }
};

// Blocks: x the tiles of units or inputs, y those of images, z the parts of the terms; of the
// update, y those of units.
#define LINEAR(name, T, WIDTH, M, N, product)                                                \
    KERNEL(TILE_THREADS, linear_forward_##name, const T *x, const T *w, Finished<T> out,     \
           LinearShape s, int parts) {                                                       \
        const Share share = share_of(s.inputs, blockIdx.z, parts);                           \
        out.in_group(0, blockIdx.z, parts);                                                  \
        product<M, N>(Rows<T, WIDTH>(x, s.images, share.end, s.inputs),                      \
                      Rows<T, WIDTH>(w + s.offset, s.outputs, share.end, s.weight_inputs),   \
                      blockIdx.y *M, blockIdx.x *N, share.first, share.end, out);            \
    }                                                                                        \
    KERNEL(TILE_THREADS, linear_backward_data_##name, const T *dy, const T *w,               \
           Finished<T> out, LinearShape s, int parts) {                                      \
        const Share share = share_of(s.outputs, blockIdx.z, parts);                          \
        out.in_group(0, blockIdx.z, parts);                                                  \
        product<M, N>(Rows<T, WIDTH>(dy, s.images, share.end, s.outputs),                    \
                      Columns<T, WIDTH>(w + s.offset, s.inputs, share.end, s.weight_inputs), \
                      blockIdx.y *M, blockIdx.x *N, share.first, share.end, out);            \
    }                                                                                        \
    KERNEL(TILE_THREADS, linear_update_##name, const T *x, const T *dy, float *v, float *w,  \
           T *copy, LinearShape s, float momentum, float decay, const StepParams *params) {  \
        if (params->overflowed) return;                                                      \
        const Rates rates = rates_of(momentum, decay, params);                               \
        T *const of_source = copied(copy) ? copy + s.offset : copy;                          \
        const Step<T> step{v + s.offset, w + s.offset, of_source,                            \
                           s.outputs,    s.inputs,     s.weight_inputs,                      \
                           rates};                                                           \
        product<M, N>(Columns<T, WIDTH>(dy, s.outputs, s.images, s.outputs),                 \
                      Columns<T, WIDTH>(x, s.inputs, s.images, s.inputs), blockIdx.y *M,     \
                      blockIdx.x *N, 0, s.images, step);                                     \
    }
FOR_ALL_TILES(LINEAR)
