// Rows of a product, as many in a pass as a loop has registers for.
#pragma once

#include <cstddef>

namespace predictor::kernels {

template <size_t Most, typename Take>
void take_rows(size_t rows, const Take& take) {
  if constexpr (Most > 0) {
    if (rows == Most) return take.template operator()<Most>();
    take_rows<Most - 1>(rows, take);
  }
}

template <size_t Most>
size_t passes_of(size_t rows) {
  return (rows + Most - 1) / Most;
}

// Calls take<Rows>() with at most `Most` rows, as seldom as that allows and with nearly as many each time: two rows
// take a processor as long as four, whose sums would wait for each other otherwise.
template <size_t Most, typename Take>
void in_passes(size_t rows, const Take& take) {
  for (size_t passes = passes_of<Most>(rows); passes > 0; --passes) {
    const size_t some = (rows + passes - 1) / passes;
    take_rows<Most>(some, take);
    rows -= some;
  }
}

}  // namespace predictor::kernels
