// db[k] = sum over the rows of dy [rows][k]: of a convolution, a row per output pixel.
#include "../../cuda/numbers.cuh"

#define BIAS_ROWS 8  // of a block at a time

// Sums of every part of the rows, rooms[part][k]; `join_parts` adds these up. 32 columns and
// BIAS_ROWS rows per block; y: the part.
template <class T>
DEV void column_sums(const T *dy, float *rooms, u64 rows, int k) {
    STATIC_SHARED(float, sums, 32 * BIAS_ROWS);
    const int column = blockIdx.x * 32 + threadIdx.x, at = threadIdx.y * 32 + threadIdx.x;
    const u64 each = (rows + gridDim.y - 1) / gridDim.y;
    const u64 end = min((blockIdx.y + 1) * each, rows);
    float sum = 0.f;
    if (column < k)
        for (u64 row = blockIdx.y * each + threadIdx.y; row < end; row += BIAS_ROWS)
            sum += widen(dy[row * k + column]);
    sums[at] = sum;
    __syncthreads();
    if (threadIdx.y || column >= k) return;
    for (int y = 1; y < BIAS_ROWS; y++) sum += sums[y * 32 + threadIdx.x];
    rooms[(u64)blockIdx.y * k + column] = sum;
}

#define COLUMN_SUMS(name, T)                                                                   \
    KERNEL(32 * BIAS_ROWS, column_sums_##name, const T *dy, float *rooms, u64 rows, int k) {   \
        column_sums(dy, rooms, rows, k);                                                       \
    }
FOR_ALL_NUMBERS(COLUMN_SUMS)
