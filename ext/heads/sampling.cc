#include "heads/sampling.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "kernels/activations.h"

namespace predictor {

namespace {

constexpr size_t kFirstSorted = 64;  // tokens that are sorted at first; four times as many while they do not suffice

constexpr double kCold = 1e-6;  // below it no second token has a chance that could be told from none

uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

float finite(double logit) {
  return static_cast<float>(std::clamp<double>(logit, -FLT_MAX, FLT_MAX));
}

void penalise(std::span<float> logits, const Sampling& sampling, const TokenHistory& history) {
  for (const auto& [token, count] : history.counts()) {
    float& logit = logits[token];
    const double penalty = sampling.repetition_penalty;
    if (penalty != 1) logit = finite(logit < 0 ? logit * penalty : logit / penalty);
    if (count > 0) logit = finite(logit - count * sampling.frequency_penalty - sampling.presence_penalty);
  }
}

void restrict(std::span<float> logits, const Restriction& restriction) {
  for (const uint32_t token : restriction.banned) logits[token] = -INFINITY;
  if (restriction.allowed.empty()) return;
  constexpr size_t kBits = 32;
  for (size_t first = 0; first < logits.size(); first += kBits) {
    const uint32_t word = restriction.allowed[first / kBits];
    const size_t count = std::min(kBits, logits.size() - first);
    for (size_t i = 0; i < count; ++i) {
      if ((word >> i & 1) == 0) logits[first + i] = -INFINITY;
    }
  }
}

uint32_t likeliest(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

double uniform(uint64_t seed, uint64_t index) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
  return static_cast<double>(mixed(mixed(seed + kGolden) + (index + 1) * kGolden) >> 11) * 0x1p-53;
}

TokenHistory::TokenHistory(const Sampling& sampling, std::span<const uint32_t> prompt)
    : is_needed_(sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 ||
                 sampling.frequency_penalty != 0) {
  if (sampling.repetition_penalty == 1) return;
  for (const uint32_t token : prompt) counts_.emplace(token, 0);
}

void TokenHistory::add(uint32_t token) {
  if (is_needed_) ++counts_[token];
}

uint32_t Sampler::choose(std::span<float> logits, const Sampling& sampling, const TokenHistory& history,
                         const Restriction& restriction, uint64_t index) {
  for (const auto& [token, bias] : sampling.bias) logits[token] = finite(logits[token] + bias);
  penalise(logits, sampling, history);
  restrict(logits, restriction);
  const float most = kernels::max_value(logits.data(), logits.size());
  if (!std::isfinite(most)) throw std::runtime_error("the model gave a logit that is no finite number");
  if (sampling.temperature < kCold || sampling.top_k == 1) return likeliest(logits);
  const double inverse = 1 / sampling.temperature;
  for (float& logit : logits) logit = static_cast<float>((logit - most) * inverse);  // first: no overflow
  const double total = kernels::exp_sum(logits.data(), logits.size(), 0);
  return draw(logits, total, sampling, uniform(sampling.seed, index));
}

// The likeliest token's weight is 1.
uint32_t Sampler::draw(std::span<float> weights, double total, const Sampling& sampling, double chance) {
  const bool all = sampling.top_p >= 1 && (sampling.top_k == 0 || sampling.top_k >= weights.size());
  if (!all) return draw_from_likeliest(weights, total, sampling, chance);
  if (sampling.min_p > 0) {
    total = 0;
    for (float& weight : weights) {
      if (weight < sampling.min_p) weight = 0;
      total += static_cast<double>(weight);
    }
  }
  double left = chance * total;
  uint32_t last = 0;
  for (uint32_t token = 0; token < weights.size(); ++token) {
    if (weights[token] == 0) continue;
    last = token;
    if ((left -= static_cast<double>(weights[token])) < 0) return token;
  }
  return last;  // rounding
}

uint32_t Sampler::draw_from_likeliest(std::span<const float> weights, double total, const Sampling& sampling,
                                      double chance) {
  order_.resize(weights.size());
  std::iota(order_.begin(), order_.end(), 0u);
  const auto likelier = [&](uint32_t a, uint32_t b) {
    return weights[a] > weights[b] || (weights[a] == weights[b] && a < b);
  };
  const size_t most = sampling.top_k == 0 ? order_.size() : std::min<size_t>(sampling.top_k, order_.size());
  size_t sorted = 0;
  const auto sort_to = [&](size_t count) {  // the `count` likeliest come first, in their order
    const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(count);
    if (end != order_.end()) std::nth_element(begin, end, order_.end(), likelier);
    std::sort(begin, end, likelier);
    sorted = count;
  };
  // top-p is of what top-k leaves
  if (most < order_.size()) {
    sort_to(most);
    total = 0;
    for (size_t i = 0; i < most; ++i) total += static_cast<double>(weights[order_[i]]);
  }
  double mass = 0;
  size_t kept = 0;
  while (kept < most) {
    if (kept == sorted) sort_to(std::min(most, std::max(kFirstSorted, sorted * 4)));
    if (kept > 0 && weights[order_[kept]] < sampling.min_p) break;
    mass += static_cast<double>(weights[order_[kept++]]);
    if (sampling.top_p < 1 && mass >= sampling.top_p * total) break;
  }
  double left = chance * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    if ((left -= static_cast<double>(weights[order_[i]])) < 0) return order_[i];
  }
  return order_[kept - 1];
}

}  // namespace predictor
