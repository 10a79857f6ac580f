// Normalisation of a row of floats. `out` may be `x`.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, arXiv:1607.06450). All of `size`, at least 1.
// `weight` may be null for 1, `bias` for 0.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, size_t size, float* out);

// x / sqrt(mean of the squares + epsilon) * weight (Zhang and Sennrich 2019, arXiv:1910.07467). All of `size`, at least
// 1. `weight` may be null for 1.
void rms_norm(const float* x, const float* weight, float epsilon, size_t size, float* out);

// x /= its Euclidean length, or `epsilon` if that is more. A NaN makes all of it NaN.
void l2_normalize(float* x, size_t size, float epsilon);

}  // namespace predictor::kernels
