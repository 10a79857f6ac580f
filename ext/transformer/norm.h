// Normalisation of rows: LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang and Sennrich 2019,
// arXiv:1910.07467).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "transformer/execution.h"
#include "transformer/weight_reader.h"

namespace predictor {

enum class NormKind {
  layer,
  rms,
  rms_of_1_plus,  // Gemma's: the weight is added to 1
};

class Norm {
 public:
  // Weights NAME.weight and, of a LayerNorm that has one, NAME.bias, of `size` numbers. Throws ModelError.
  Norm(const WeightReader& weights, const std::string& name, int64_t size, double epsilon, const Execution& execution,
       NormKind kind = NormKind::layer);

  // Each run of `size` numbers of x; float32 on the processor.
  void apply(at::Tensor& x) const;
  at::Tensor applied(const at::Tensor& x) const;
  // Of memory of the processor: `from` and `to` may be the same.
  void apply(const float* from, size_t size, float* to) const;

 private:
  bool by_own_loops(const at::Tensor& x) const;

  NormKind kind_;
  double epsilon_;
  at::Tensor weight_;
  at::Tensor bias_;  // undefined where there is none
};

}  // namespace predictor
