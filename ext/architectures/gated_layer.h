// The layer of Llama and its kin (Touvron et al. 2023, arXiv:2302.13971): RMSNorm before each part, rotary positions,
// fewer keys than queries, and a gated network.
#pragma once

#include <memory>
#include <string>

#include "architectures/text_transformer.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

struct GatedSizes {
  int64_t layers;
  int64_t hidden;
  int64_t intermediate;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_size;
  int64_t positions;
  double epsilon;
  Activation activation;
  NormKind norm;
};

// By the names that Llama's config.json has. Throws ModelError.
GatedSizes gated_sizes(const Config& config, const std::string& activation_field);

// What differs from one family to the other.
struct GatedLayerOptions {
  kernels::AttentionShape shape;
  std::shared_ptr<const Rotary> rotary;
  bool qkv_bias = false;
  bool out_bias = false;
  bool network_bias = false;
  bool query_and_key_norms = false;
  bool norms_around = false;                                  // Gemma's: also what comes out of each part is normalised
  bool fused = false;                                         // Phi-3's: qkv_proj, and gate_up_proj
  std::shared_ptr<const MixtureOfExperts> mixture = nullptr;  // in place of the network
};

kernels::AttentionShape gated_attention(const GatedSizes& sizes, bool causal);

// The network that is below `weights`, of so many numbers within.
FeedForward gated_network(const WeightReader& weights, const GatedSizes& sizes, int64_t intermediate,
                          const Execution& execution, bool fused = false, bool biased = false);

std::shared_ptr<const TransformerLayer> gated_layer(const WeightReader& weights, const GatedSizes& sizes,
                                                    GatedLayerOptions options, const Execution& execution);

// Of a text's last token that is no padding, as transformers classifies with decoders.
ClassHead last_token_classifier(const Config& config);

// By rope_parameters, or rope_theta and rope_scaling; of a share of each head by partial_rotary_factor.
std::shared_ptr<const Rotary> rotary_of(const Config& config, double theta, const GatedSizes& sizes,
                                        const Execution& execution);

}  // namespace predictor
