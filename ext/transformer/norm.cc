#include "transformer/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rsqrt.h>

#include <algorithm>

#include "kernels/norms.h"
#include "transformer/loops.h"
#include "transformer/threads.h"

namespace predictor {

namespace {

constexpr int64_t kGrain = 1 << 15;  // numbers that make another thread worth while

}  // namespace

Norm::Norm(const WeightReader& weights, const std::string& name, int64_t size, double epsilon,
           const Execution& execution, NormKind kind)
    : kind_(kind), epsilon_(epsilon), weight_(weights.floats(name + ".weight", {size}).clone()) {
  if (kind == NormKind::layer && weights.has(name + ".bias")) bias_ = weights.floats(name + ".bias", {size}).clone();
  if (kind == NormKind::rms_of_1_plus) weight_ += 1;
  weight_ = weight_.to(execution.device.place());
  if (bias_.defined()) bias_ = bias_.to(execution.device.place());
}

void Norm::apply(const float* from, size_t size, float* to) const {
  const auto width = static_cast<size_t>(weight_.size(0));
  const float* const weight = weight_.const_data_ptr<float>();
  const float* const bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  const auto epsilon = static_cast<float>(epsilon_);
  for (size_t i = 0; i < size; i += width) {
    if (kind_ == NormKind::layer) {
      kernels::layer_norm(from + i, weight, bias, epsilon, width, to + i);
    } else {
      kernels::rms_norm(from + i, weight, epsilon, width, to + i);
    }
  }
}

// Rows on the processor and weights on a card are refused by libtorch's operator.
bool Norm::by_own_loops(const at::Tensor& x) const {
  return by_loops(x) && weight_.is_cpu();
}

at::Tensor Norm::applied(const at::Tensor& x) const {
  if (!by_own_loops(x)) {
    const at::Tensor numbers = x.to(at::kFloat);
    if (kind_ == NormKind::layer)
      return at::layer_norm(numbers, weight_.sizes(), weight_, bias_, epsilon_).to(x.dtype());
    const at::Tensor squares = (numbers * numbers).mean(-1, true);
    return (numbers * at::rsqrt(squares + epsilon_) * weight_).to(x.dtype());
  }
  at::Tensor out = at::empty_like(x);
  const int64_t width = weight_.size(0);
  const float* const from = x.const_data_ptr<float>();
  float* const to = out.mutable_data_ptr<float>();
  share_out(x.numel() / width, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
    apply(from + begin * width, static_cast<size_t>((end - begin) * width), to + begin * width);
  });
  return out;
}

void Norm::apply(at::Tensor& x) const {
  if (!by_own_loops(x)) {
    x = applied(x);
    return;
  }
  const int64_t width = weight_.size(0);
  float* const numbers = x.mutable_data_ptr<float>();
  share_out(x.numel() / width, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
    apply(numbers + begin * width, static_cast<size_t>((end - begin) * width), numbers + begin * width);
  });
}

}  // namespace predictor
