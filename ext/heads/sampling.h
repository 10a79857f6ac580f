// Which token comes next.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace predictor {

struct Sampling {
  double temperature = 1;         // 0: always the likeliest
  uint32_t top_k = 0;             // only the k likeliest; 0: all
  double top_p = 1;               // only the likeliest that reach this probability together
  double min_p = 0;               // only those at least so likely, measured by the likeliest
  double repetition_penalty = 1;  // over 1: what was there before becomes less likely (Keskar et al., arXiv:1909.05858)
  double presence_penalty = 0;    // taken from the logits of tokens that were generated before
  double frequency_penalty = 0;   // the same, times how often they were
  std::vector<std::pair<uint32_t, double>> bias;  // what is added to the logits of tokens
  uint64_t seed = 0;
};

// What the penalties look at: the tokens of a text so far. Empty where there are no penalties.
class TokenHistory {
 public:
  TokenHistory(const Sampling& sampling, std::span<const uint32_t> prompt);
  // A generated token.
  void add(uint32_t token);
  // Of each token how often it was generated; 0 for one that is only in the prompt.
  const std::unordered_map<uint32_t, uint32_t>& counts() const { return counts_; }

 private:
  bool is_needed_;
  std::unordered_map<uint32_t, uint32_t> counts_;
};

// Which tokens may not be chosen.
struct Restriction {
  std::span<const uint32_t> banned;
  std::span<const uint32_t> allowed;  // a bit for each token, the first in the lowest of the first word; empty: all
};

// A number from 0 to below 1, of a stream that `seed` names; the same for the same arguments. splitmix64's finaliser
// (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
double uniform(uint64_t seed, uint64_t index);

class Sampler {
 public:
  // The token chosen from `logits`, one for each token of the vocabulary, which are changed. `index`: how many tokens
  // have been chosen for this text. In the order that Hugging Face's generate has: bias, penalties, restriction,
  // temperature, top-k, top-p, min-p. Throws std::runtime_error when a logit is no number, or no token may be chosen.
  uint32_t choose(std::span<float> logits, const Sampling& sampling, const TokenHistory& history,
                  const Restriction& restriction, uint64_t index);

 private:
  uint32_t draw(std::span<float> weights, double total, const Sampling& sampling, double chance);
  uint32_t draw_from_likeliest(std::span<const float> weights, double total, const Sampling& sampling, double chance);

  std::vector<uint32_t> order_;  // of tokens, kept for its memory
};

}  // namespace predictor
