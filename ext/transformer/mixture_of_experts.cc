#include "transformer/mixture_of_experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "kernels/activations.h"
#include "transformer/loops.h"

namespace predictor {

namespace {

struct Visit {
  int64_t token;
  float share;
};

// The `chosen` likeliest experts of a token, of several equal ones the first; `scores` become shares.
void choose(std::span<float> scores, int64_t chosen, bool normalized, int64_t token,
            std::vector<std::vector<Visit>>& visits) {
  const float most = kernels::max_value(scores.data(), scores.size());
  const double sum = kernels::exp_sum(scores.data(), scores.size(), most);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto end = order.begin() + chosen;
  std::partial_sort(order.begin(), end, order.end(), [&](size_t one, size_t other) {
    return scores[one] > scores[other] || (scores[one] == scores[other] && one < other);
  });
  double of_chosen = 0;
  for (auto expert = order.begin(); expert != end; ++expert) of_chosen += scores[*expert];
  for (auto expert = order.begin(); expert != end; ++expert) {
    visits[*expert].push_back({token, static_cast<float>(scores[*expert] / (normalized ? of_chosen : sum))});
  }
}

}  // namespace

// All experts for all tokens: on a card the shapes must not depend on the tokens.
at::Tensor MixtureOfExperts::by_operators(const at::Tensor& x) const {
  const at::Tensor shares = router->apply(x).to(at::kFloat).softmax(-1);
  const auto [best, places] = shares.topk(chosen, -1);
  const at::Tensor kept = normalized ? best / best.sum(-1, true) : best;
  const at::Tensor weights = at::zeros_like(shares).scatter(-1, places, kept).to(x.scalar_type());
  at::Tensor out = at::zeros_like(x);
  for (size_t expert = 0; expert < experts.size(); ++expert) {
    out = out + weights.narrow(1, static_cast<int64_t>(expert), 1) * experts[expert].apply(x);
  }
  return out;
}

at::Tensor MixtureOfExperts::apply(const at::Tensor& x) const {
  if (!by_loops(x)) return by_operators(x);
  const auto width = static_cast<size_t>(x.size(1));
  const float* const from = x.const_data_ptr<float>();
  const at::Tensor scores = router->apply(x);
  std::vector<std::vector<Visit>> visits(experts.size());
  for (int64_t token = 0; token < x.size(0); ++token) {
    float* const of_token = scores.mutable_data_ptr<float>() + token * scores.size(1);
    choose({of_token, experts.size()}, chosen, normalized, token, visits);
  }
  at::Tensor out = at::zeros(x.sizes(), at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  for (size_t expert = 0; expert < experts.size(); ++expert) {  // in one order, so that sums are the same
    const std::vector<Visit>& of_expert = visits[expert];
    if (of_expert.empty()) continue;
    const at::Tensor rows = at::empty({static_cast<int64_t>(of_expert.size()), x.size(1)}, at::kFloat);
    float* row = rows.mutable_data_ptr<float>();
    for (const Visit& visit : of_expert) row = std::copy_n(from + visit.token * x.size(1), width, row);
    const at::Tensor made = experts[expert].apply(rows);
    const float* result = made.const_data_ptr<float>();
    for (const Visit& visit : of_expert) {
      float* const sum = to + visit.token * x.size(1);
      for (size_t i = 0; i < width; ++i) sum[i] += visit.share * result[i];
      result += width;
    }
  }
  return out;
}

at::Tensor FeedForward::apply(const at::Tensor& x) const {
  if (mixture) return mixture->apply(x);
  at::Tensor intermediate = up->apply(x);
  if (gated) return down->apply(activate_gated(activation, intermediate));
  activate(activation, intermediate);
  return down->apply(intermediate);
}

}  // namespace predictor
