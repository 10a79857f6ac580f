// Rows of floats as 16 bits, and back: bfloat16, which is a float's upper half, and IEEE 754's binary16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor::kernels {

// Rounded to the nearest, of two equally near ones to the even one. NaN stays NaN.
void float_to_bfloat16(const float* x, size_t size, uint16_t* out);

void bfloat16_to_float(const uint16_t* x, size_t size, float* out);
void float16_to_float(const uint16_t* x, size_t size, float* out);

}  // namespace predictor::kernels
