// Several networks, of which each token goes through the few that a router chooses (Shazeer et al. 2017,
// arXiv:1701.06538).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "transformer/feed_forward.h"
#include "transformer/linear.h"

namespace predictor {

struct MixtureOfExperts {
  std::unique_ptr<Linear> router;  // of a token: a score for each expert
  std::vector<FeedForward> experts;
  int64_t chosen;   // experts of a token, the likeliest
  bool normalized;  // their shares add up to 1

  // [tokens, hidden_size] -> the same. A token's result depends on nothing but the token.
  at::Tensor apply(const at::Tensor& x) const;

 private:
  at::Tensor by_operators(const at::Tensor& x) const;
};

}  // namespace predictor
