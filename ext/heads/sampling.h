// Which token comes next.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace predictor {

struct Sampling {
  double temperature = 1;         // 0: always the likeliest
  uint32_t top_k = 0;             // only the k likeliest; 0: all
  double top_p = 1;               // only the likeliest that reach this probability together
  double repetition_penalty = 1;  // over 1: what was there before becomes less likely (Keskar et al., arXiv:1909.05858)
  uint64_t seed = 0;
};

// A number from 0 to below 1, of a stream that `seed` names; the same for the same arguments. splitmix64's finaliser
// (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
double uniform(uint64_t seed, uint64_t index);

class Sampler {
 public:
  // The token chosen from `logits`, one for each token of the vocabulary, which are changed. `seen`: the tokens that
  // the penalty is for, each once. `index`: how many tokens have been chosen for this text. In the order that Hugging
  // Face's generate has: penalty, temperature, top-k, top-p. Throws std::runtime_error when a logit is not a number.
  uint32_t choose(std::span<float> logits, const Sampling& sampling, std::span<const uint32_t> seen, uint64_t index);

 private:
  uint32_t draw(std::span<const float> weights, double total, const Sampling& sampling, double chance);
  uint32_t draw_from_likeliest(std::span<const float> weights, double total, const Sampling& sampling, double chance);

  std::vector<uint32_t> order_;  // of tokens, kept for its memory
};

}  // namespace predictor
