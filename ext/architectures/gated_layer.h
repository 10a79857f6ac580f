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
  bool query_and_key_norms = false;
  bool norms_around = false;  // Gemma's: also what comes out of each part is normalised
};

kernels::AttentionShape gated_attention(const GatedSizes& sizes, bool causal);

std::shared_ptr<const TransformerLayer> gated_layer(const WeightReader& weights, const GatedSizes& sizes,
                                                    GatedLayerOptions options, const Execution& execution);

// Of a text's last token that is no padding, as transformers classifies with decoders.
ClassHead last_token_classifier(const Config& config);

// By rope_parameters, or rope_theta and rope_scaling.
std::shared_ptr<const Rotary> rotary_of(const Config& config, double theta, const GatedSizes& sizes,
                                        const Execution& execution);

}  // namespace predictor
