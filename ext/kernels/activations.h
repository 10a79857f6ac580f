// What is done to each number of a row: activations, residual sums, and the two passes of softmax. A NaN stays one.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// GELU: x times the share of the normal distribution below x (Hendrycks and Gimpel, arXiv:1606.08415). To 3e-7.
void gelu(float* x, size_t size);

// GELU by tanh, as GPT-2 has it: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
void gelu_tanh(float* x, size_t size);

// GELU by a sigmoid, as CLIP has it: x sigmoid(1.702 x).
void quick_gelu(float* x, size_t size);

// x sigmoid(x)
void silu(float* x, size_t size);

void relu(float* x, size_t size);
void sigmoid(float* x, size_t size);
void tanh(float* x, size_t size);

// x += y
void add(float* x, const float* y, size_t size);

// x *= y
void multiply(float* x, const float* y, size_t size);

// The greatest of `size` numbers, at least 1. A NaN makes it NaN.
float max_value(const float* x, size_t size);

// x = e^(x - max), where `max` is that of x; the sum of the results.
double exp_sum(float* x, size_t size, float max);

}  // namespace predictor::kernels
