// How likely tokens are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace predictor {

struct TokenChance {
  uint32_t token;
  double logprob;  // natural logarithm of its probability
};

struct TokenScore {
  TokenChance chosen;
  std::vector<TokenChance> top;  // the likeliest at its place, the best first
};

class Scorer {
 public:
  // How likely `token` is by `logits`, one for each token of the vocabulary, and the `top` likeliest; of equal ones the
  // first. Throws std::runtime_error when a logit is not a number. One thread at a time.
  TokenScore score(std::span<const float> logits, uint32_t token, uint32_t top);

 private:
  std::vector<float> weights_;
  std::vector<uint32_t> order_;
};

}  // namespace predictor
