// The products of a fully-connected layer in f32 (tile_f32.cuh).
//
//   x [n][inputs], y [n][outputs], w [outputs][weight_inputs], of which the columns
//   offset .. offset + inputs are this source's;
//
//   forward: y[n, k] = sum over c of x[n, c] w[k, offset + c]
//   backward data: dx[n, c] = sum over k of dy[n, k] w[k, offset + c]
//   update: a step of the optimiser by dw[k, c] = sum over n of dy[n, k] x[n, c], not kept
#include "../../cuda/tile_f32.cuh"
#include "../sgd/sgd.cuh"

// The twin of cuda.rs's `Shape`.
struct LinearShape {
    int images, inputs, outputs, weight_inputs, offset, unused;
};

// Blocks: x the tiles of units, y those of images, z the parts of the terms.
KERNEL(TILE_THREADS, linear_forward_f32, const float *x, const float *w, Finished out,
       LinearShape s, int parts) {
    const Share share = share_of(s.inputs, blockIdx.z, parts);
    out.in_group(0, blockIdx.z, parts);
    multiply<4, 4>(Rows(x, s.images, share.end, s.inputs),
                   Rows(w + s.offset, s.outputs, share.end, s.weight_inputs), blockIdx.y * 64,
                   blockIdx.x * 64, share.first, share.end, out);
}

// Blocks: x the tiles of inputs, y those of images, z the parts of the terms.
KERNEL(TILE_THREADS, linear_backward_data_f32, const float *dy, const float *w, Finished out,
       LinearShape s, int parts) {
    const Share share = share_of(s.outputs, blockIdx.z, parts);
    out.in_group(0, blockIdx.z, parts);
    multiply<4, 4>(Rows(dy, s.images, share.end, s.outputs),
                   Columns(w + s.offset, s.inputs, share.end, s.weight_inputs), blockIdx.y * 64,
                   blockIdx.x * 64, share.first, share.end, out);
}

// Gradients that become steps of the optimiser.
struct Step {
    float *v, *w;
    int m, n, pitch;
    Rates rates;
    DEV_METHOD void operator()(int i, int j, const float (&g)[4]) const {
        if (i >= m) return;
        UNROLL
        for (int e = 0; e < 4; e++)
            if (j + e < n)
                sgd_step(rates, g[e], v[(u64)i * pitch + j + e], w[(u64)i * pitch + j + e]);
    }
};

// Blocks: x the tiles of inputs, y those of units.
KERNEL(TILE_THREADS, linear_update_f32, const float *x, const float *dy, float *v, float *w,
       LinearShape s, float momentum, float decay, const StepParams *params) {
    const Step step{v + s.offset, w + s.offset,    s.outputs,
                    s.inputs,     s.weight_inputs, rates_of(momentum, decay, params)};
    multiply<8, 4>(Columns(dy, s.outputs, s.images, s.outputs),
                   Columns(x, s.inputs, s.images, s.inputs), blockIdx.y * 128, blockIdx.x * 64,
                   0, s.images, step);
}
