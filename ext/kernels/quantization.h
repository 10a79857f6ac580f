// Rows of floats as int8, and the sums of int8 products as floats.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor::kernels {

// A row less the middle of its range, as whole numbers of -127 to 127 times `scale`.
struct CenteredRow {
  float scale;
  float middle;
};

// The row, with `offset` added to each whole number, in a byte each. Without the middle of its range the error would be
// more than twice as large where most numbers lie to one side of 0, as activations do; its part of a product is the
// middle times the sum of the column. Where a number of the row is NaN or infinite, so is the scale.
CenteredRow quantize_row(const float* x, size_t size, int offset, uint8_t* out);

// The row of a weight as whole numbers of -127 to 127 times what comes back. Where a number is not finite, nor is that.
float quantize_weights(const float* x, size_t size, int8_t* out);

// out = sums * column_scales * row.scale + row.middle * column_sums + bias. `column_sums`: of each column of the matrix
// the sum of its whole numbers, times its scale. `bias` may be null.
void dequantize_row(const int32_t* sums, const float* column_scales, const float* column_sums, const CenteredRow& row,
                    const float* bias, size_t size, float* out);

}  // namespace predictor::kernels
