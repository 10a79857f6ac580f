#include "architectures/gated_experts.h"

#include <algorithm>
#include <utility>

#include "transformer/loops.h"

namespace predictor {

bool GatedExperts::are_in(int64_t layer) const {
  const bool is_left_out = std::find(without.begin(), without.end(), static_cast<double>(layer)) != without.end();
  return count > 0 && (layer + 1) % every == 0 && !is_left_out;
}

GatedExperts gated_experts(const Config& config) {
  config.ignore({"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"});
  GatedExperts experts{.count = config.size(config.any_of({"num_local_experts", "num_experts"})),
                       .chosen = config.size("num_experts_per_tok"),
                       .intermediate = config.size("moe_intermediate_size"),
                       .normalized = config.flag("norm_topk_prob", false),
                       .every = config.size("decoder_sparse_step", 1)};
  if (config.has("mlp_only_layers")) experts.without = config.numbers("mlp_only_layers");
  if (experts.chosen > experts.count) config.refuse("num_experts_per_tok", "it must be at most num_experts");
  return experts;
}

std::shared_ptr<const MixtureOfExperts> gated_mixture(const WeightReader& weights, const GatedExperts& experts,
                                                      const GatedSizes& sizes, const Execution& execution) {
  const at::Tensor routes = weights.floats("gate.weight", {experts.count, sizes.hidden});
  Execution routing = execution;
  if (by_loops(execution.device)) routing.precision = Precision::float32;  // it decides where a token goes
  MixtureOfExperts mixture{.router = Linear::make(routing, routes, {}),
                           .experts = {},
                           .chosen = experts.chosen,
                           .normalized = experts.normalized};
  for (int64_t i = 0; i < experts.count; ++i) {
    mixture.experts.push_back(gated_network(weights["experts"][i], sizes, experts.intermediate, execution));
  }
  return std::make_shared<MixtureOfExperts>(std::move(mixture));
}

}  // namespace predictor
