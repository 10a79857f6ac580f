// The network of a layer: up, an activation, down; or gated (Shazeer 2020, arXiv:2002.05202), where the up projection
// gives the gate and what it is multiplied with.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "transformer/activation.h"
#include "transformer/linear.h"

namespace predictor {

struct FeedForward {
  std::unique_ptr<Linear> up;  // gated: [gate, up]
  Activation activation = Activation::gelu;
  bool gated = false;
  std::unique_ptr<Linear> down;

  at::Tensor apply(const at::Tensor& x) const {
    at::Tensor intermediate = up->apply(x);
    if (gated) return down->apply(activate_gated(activation, intermediate));
    activate(activation, intermediate);
    return down->apply(intermediate);
  }
};

}  // namespace predictor
