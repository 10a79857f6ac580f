#include "transformer/int8_products.h"

#include <ATen/ops/_int_mm.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "kernels/packed_gemm.h"
#include "transformer/packed_products.h"

namespace predictor {

namespace {

at::Tensor multiply_by_kernels(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t in = weight.size(0);
  const int64_t out = weight.size(1);
  const at::Tensor columns = weight.t().contiguous();
  const kernels::PackedMatrix packed(columns.const_data_ptr<int8_t>(), static_cast<size_t>(in),
                                     static_cast<size_t>(out), allowed_instructions());
  const at::Tensor bytes = at::empty({x.size(0), static_cast<int64_t>(packed.in_features())}, at::kByte);
  bytes.narrow(1, 0, in).copy_(x).add_(kernels::PackedMatrix::kInt8Offset);  // modulo 256
  at::Tensor sums = at::empty({x.size(0), out}, at::kInt);
  multiply(packed, bytes.const_data_ptr<uint8_t>(), x.size(0), sums.mutable_data_ptr<int32_t>());
  return sums;
}

}  // namespace

bool library_multiplies_int8() {
  static const bool is_right = [] {
    constexpr int64_t kIn = 384;  // a usual shape, and the largest numbers
    const at::Tensor most = at::full({32, kIn}, 127, at::kChar);
    return at::_int_mm(most, at::full({kIn, kIn}, -127, at::kChar)).eq(-127 * 127 * kIn).all().item<bool>();
  }();
  return is_right;
}

at::Tensor int8_products(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(0),
              "the numbers of a row do not go with the weight");
  TORCH_CHECK(x.scalar_type() == at::kChar && weight.scalar_type() == at::kChar, "both must be int8");
  if (!x.is_cpu() || library_multiplies_int8()) return at::_int_mm(x, weight);
  TORCH_CHECK(x.size(1) <= static_cast<int64_t>(kernels::PackedMatrix::kMaxInt8Inputs),
              "sums of so many do not fit 32 bits");
  return multiply_by_kernels(x, weight);
}

}  // namespace predictor
