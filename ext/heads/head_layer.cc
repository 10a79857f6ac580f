#include "heads/head_layer.h"

namespace predictor {

Execution head_execution() {
  return {Precision::float32, Device("cpu"), 1};
}

HeadPart::HeadPart(const HeadLayer& layer, int64_t in, int64_t out, const WeightReader& weights,
                   const Execution& execution)
    : dense_(Linear::read(weights, layer.dense, in, out, layer.biased, execution)), activation_(layer.activation) {
  if (!layer.norm.empty()) norm_.emplace(weights, layer.norm, out, layer.epsilon, execution, layer.norm_kind);
}

at::Tensor HeadPart::apply(const at::Tensor& x) const {
  at::Tensor y = dense_->apply(x);
  activate(activation_, y);
  if (norm_) norm_->apply(y);
  return y;
}

}  // namespace predictor
