// ReLU and tanh, and their gradients from what they return (or from ReLU's argument).
#pragma once
#include "../../cuda/numbers.cuh"

// The twin of cuda.rs's `code`.
enum Activation { RELU = 0, TANH = 1, NONE = 2 };

DEV float activate(int f, float x) {
    // What is not a number stays so, to be seen in the loss.
    if (f == RELU) return x <= 0.f ? 0.f : x;
    return f == TANH ? tanhf(x) : x;
}

// d f'(x), given y = f(x).
DEV float activation_gradient(int f, float y, float d) {
    if (f == RELU) return y > 0.f ? d : 0.f;
    return f == TANH ? d * (1.f - y * y) : d;
}
