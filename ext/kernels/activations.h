// What is done to each number of a row: activations, residual sums, and the two passes of softmax.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// GELU by tanh, as GPT-2 has it: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel,
// arXiv:1606.08415).
void gelu_tanh(float* x, size_t size);

// x += y
void add(float* x, const float* y, size_t size);

// The greatest of `size` numbers, at least 1. A NaN makes it NaN.
float max_value(const float* x, size_t size);

// x = e^(x - max), where `max` is that of x; the sum of the results.
double exp_sum(float* x, size_t size, float max);

}  // namespace predictor::kernels
