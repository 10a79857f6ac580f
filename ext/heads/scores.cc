#include "heads/scores.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "kernels/activations.h"

namespace predictor {

TokenScore Scorer::score(std::span<const float> logits, uint32_t token, uint32_t top) {
  weights_.assign(logits.begin(), logits.end());
  const float most = kernels::max_value(weights_.data(), weights_.size());
  if (!std::isfinite(most)) throw std::runtime_error("the model gave a logit that is no finite number");
  const double log_sum = std::log(kernels::exp_sum(weights_.data(), weights_.size(), most)) + static_cast<double>(most);
  const auto chance = [&](uint32_t of) { return TokenChance{of, static_cast<double>(logits[of]) - log_sum}; };
  TokenScore score{chance(token), {}};
  if (top == 0) return score;
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0u);
  const auto end = order_.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(top, order_.size()));
  std::partial_sort(order_.begin(), end, order_.end(),
                    [&](uint32_t a, uint32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  std::transform(order_.begin(), end, std::back_inserter(score.top), chance);
  return score;
}

}  // namespace predictor
