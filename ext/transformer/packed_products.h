// Products with packed matrices by libtorch's threads, and on the processor that libtorch believes in.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/packed_gemm.h"

namespace predictor {

// ATEN_CPU_CAPABILITY may lower what libtorch uses; that holds here too.
inline kernels::Instructions allowed_instructions() {
  using kernels::Instructions;
  static const Instructions allowed = [] {
    const std::string capability = at::get_cpu_capability();
    const Instructions most = capability.starts_with("AVX512") ? Instructions::avx512_bf16
                              : capability == "AVX2"           ? Instructions::avx2
                                                               : Instructions::baseline;
    return std::min(most, kernels::processor_instructions());
  }();
  return allowed;
}

// x [rows, in_features] -> y [rows, out_features]
template <typename In, typename Out>
void multiply(const kernels::PackedMatrix& matrix, const In* x, int64_t rows, Out* y) {
  constexpr int64_t kGrain = 1 << 21;  // multiplications that make another thread worth while
  const auto count = static_cast<int64_t>(matrix.blocks());
  const int64_t of_block =
      std::max<int64_t>(rows * static_cast<int64_t>(matrix.in_features() * kernels::PackedMatrix::kBlockColumns), 1);
  at::parallel_for(0, count, 1 + kGrain / of_block, [&](int64_t begin, int64_t end) {
    matrix.multiply(x, static_cast<size_t>(rows), static_cast<size_t>(begin), static_cast<size_t>(end), y);
  });
}

}  // namespace predictor
