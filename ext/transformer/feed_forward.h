// The network of a layer: up, an activation, down; or gated (Shazeer 2020, arXiv:2002.05202), where the up projection
// gives the gate and what it is multiplied with.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "transformer/activation.h"
#include "transformer/linear.h"

namespace predictor {

struct MixtureOfExperts;

struct FeedForward {
  std::unique_ptr<Linear> up = nullptr;  // gated: [gate, up]
  Activation activation = Activation::gelu;
  bool gated = false;
  std::unique_ptr<Linear> down = nullptr;
  std::shared_ptr<const MixtureOfExperts> mixture = nullptr;  // in place of all that, where it is there

  at::Tensor apply(const at::Tensor& x) const;
};

}  // namespace predictor
