// Which way a layer computes: by loops of ours on the processor, by libtorch's operators on a card.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdlib>

#include "transformer/device.h"

namespace predictor {

// Whether the environment asks for libtorch's operators on the processor too (PREDICTOR_OPERATORS): so the tests try
// what a card runs, where there is none.
inline bool only_operators() {
  static const bool only = std::getenv("PREDICTOR_OPERATORS") != nullptr;
  return only;
}

inline bool by_loops(const at::Tensor& x) {
  return x.is_cpu() && !only_operators();
}

inline bool by_loops(const Device& device) {
  return device.is_processor() && !only_operators();
}

}  // namespace predictor
