// Normalisation of a row of floats.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, arXiv:1607.06450). All of `size`, at least 1.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, size_t size, float* out);

}  // namespace predictor::kernels
