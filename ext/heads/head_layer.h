// A product, an activation and a norm in a head: few rows, and so in float32 on the processor.
#pragma once

#include <memory>
#include <optional>

#include "architectures/text_transformer.h"
#include "transformer/weight_reader.h"

namespace predictor {

// For what is computed on the processor in float32.
Execution head_execution();

class HeadPart {
 public:
  // Of `in` numbers `out`. Throws ModelError.
  HeadPart(const HeadLayer& layer, int64_t in, int64_t out, const WeightReader& weights, const Execution& execution);

  // [rows, in] -> [rows, out]
  at::Tensor apply(const at::Tensor& x) const;

 private:
  std::unique_ptr<Linear> dense_;
  Activation activation_;
  std::optional<Norm> norm_;
};

}  // namespace predictor
