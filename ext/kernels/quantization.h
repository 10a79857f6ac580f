// Rows of floats as int8, and the sums of int8 products as floats.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor::kernels {

// The row as whole numbers of -127 to 127 times the returned scale; `out` has them plus `offset`, in a byte each. Where
// a number of the row is NaN or infinite, so is the scale.
float quantize_row(const float* x, size_t size, int offset, uint8_t* out);

// out = sums * column_scales * row_scale + bias. `bias` may be null.
void dequantize_row(const int32_t* sums, const float* column_scales, float row_scale, const float* bias, size_t size,
                    float* out);

}  // namespace predictor::kernels
