// Products with packed matrices by libtorch's threads, and on the processor that libtorch believes in.
#pragma once

#include <ATen/Version.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/packed_gemm.h"
#include "kernels/packed_int4.h"
#include "transformer/threads.h"

namespace predictor {

// ATEN_CPU_CAPABILITY may lower what libtorch uses; that holds here too.
inline kernels::Instructions allowed_instructions() {
  using kernels::Instructions;
  static const Instructions allowed = [] {
    const std::string capability = at::get_cpu_capability();
    const Instructions most = capability.starts_with("AVX512") ? Instructions::amx
                              : capability == "AVX2"           ? Instructions::avx2
                                                               : Instructions::baseline;
    return std::min(most, kernels::processor_instructions());
  }();
  return allowed;
}

// `product` of the blocks from a first to before a last, by several threads where that is worth while for so many rows;
// `then`: what is made of their columns, while they are in the caches.
template <typename Matrix, typename Product, typename Then>
void share_blocks(const Matrix& matrix, int64_t rows, const Product& product, const Then& then) {
  constexpr int64_t kGrain = 1 << 18;  // multiplications that make another thread worth while
  constexpr int64_t kReading = 8;      // of a weight: as long as so many multiplications
  const auto count = static_cast<int64_t>(matrix.blocks());
  const auto weights = static_cast<int64_t>(matrix.in_features() * Matrix::kBlockColumns);
  const int64_t of_block = std::max<int64_t>(std::max(rows, kReading) * weights, 1);
  share_out(count, 1 + kGrain / of_block, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin);
    const auto last = static_cast<size_t>(end);
    product(first, last);
    then(first * Matrix::kBlockColumns, std::min(last * Matrix::kBlockColumns, matrix.out_features()));
  });
}

// x [rows, in_features] -> y [rows, out_features].
template <typename In, typename Out, typename Then>
void multiply(const kernels::PackedMatrix& matrix, const In* x, int64_t rows, Out* y, const Then& then) {
  const auto product = [&](size_t first, size_t last) {
    matrix.multiply(x, static_cast<size_t>(rows), first, last, y);
  };
  share_blocks(matrix, rows, product, then);
}

template <typename In, typename Out>
void multiply(const kernels::PackedMatrix& matrix, const In* x, int64_t rows, Out* y) {
  multiply(matrix, x, rows, y, [](size_t, size_t) {});
}

}  // namespace predictor
