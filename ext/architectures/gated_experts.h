// Mixtures of Llama's gated networks, as Qwen 3 has them.
#pragma once

#include <memory>
#include <vector>

#include "architectures/gated_layer.h"
#include "transformer/mixture_of_experts.h"

namespace predictor {

// Which layers have experts, and how many.
struct GatedExperts {
  int64_t count = 0;
  int64_t chosen = 0;
  int64_t intermediate = 0;
  bool normalized = false;
  int64_t every = 1;                 // layer of so many has them,
  std::vector<double> without = {};  // but for these

  bool are_in(int64_t layer) const;
};

// Throws ModelError.
GatedExperts gated_experts(const Config& config);

std::shared_ptr<const MixtureOfExperts> gated_mixture(const WeightReader& weights, const GatedExperts& experts,
                                                      const GatedSizes& sizes, const Execution& execution);

}  // namespace predictor
