// Rows of a product, as many in a pass as a loop has registers for.
#pragma once

#include <cstddef>

namespace predictor::kernels {

template <size_t Most, typename Take>
void take_last_rows(size_t rows, const Take& take) {
  if constexpr (Most > 0) {
    if (rows == Most) return take.template operator()<Most>();
    take_last_rows<Most - 1>(rows, take);
  }
}

// Calls take<Rows>() for `Most` rows as often as there are so many, and once for the rest: two rows take a processor as
// long as four, whose sums would wait for each other otherwise.
template <size_t Most, typename Take>
void in_passes(size_t rows, const Take& take) {
  for (; rows >= Most; rows -= Most) take.template operator()<Most>();
  take_last_rows<Most - 1>(rows, take);
}

}  // namespace predictor::kernels
