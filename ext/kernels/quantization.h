// Rows of floats as int8, and the sums of int8 products as floats.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor::kernels {

// The row as whole numbers of -127 to 127 times the returned scale; `out` has them plus `offset`, in a byte each. Where
// a number of the row is NaN or infinite, so is the scale.
float quantize_row(const float* x, size_t size, int offset, uint8_t* out);

// A row less the middle of its range, as whole numbers of -127 to 127 times `scale`.
struct CenteredRow {
  float scale;
  float middle;
};

// As quantize_row, but the middle of the row's range is taken off before rounding. That more than halves the error
// where most numbers lie to one side of 0, as activations do. Its part of a product is the middle times the sum of the
// column.
CenteredRow quantize_row_centered(const float* x, size_t size, int offset, uint8_t* out);

// out = sums * column_scales * row_scale + bias. `bias` may be null.
void dequantize_row(const int32_t* sums, const float* column_scales, float row_scale, const float* bias, size_t size,
                    float* out);

// out = sums * column_scales * row.scale + row.middle * column_sums + bias. `column_sums`: of each column of the matrix
// the sum of its whole numbers, times its scale. `bias` may be null.
void dequantize_row_centered(const int32_t* sums, const float* column_scales, const float* column_sums,
                             const CenteredRow& row, const float* bias, size_t size, float* out);

}  // namespace predictor::kernels
