// Parts of layers with LayerNorm and a network without a gate, as GPT-2's kin have them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "architectures/text_transformer.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

// The names of a family's fields in config.json.
struct PlainFields {
  const char* layers = "num_hidden_layers";
  const char* hidden = "hidden_size";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";    // as many as heads, where it is not there
  const char* intermediate = "intermediate_size";  // 4 * hidden, where it is not there
  const char* positions = "max_position_embeddings";
  const char* epsilon = "layer_norm_eps";
  const char* activation = "hidden_act";
};

struct PlainSizes {
  int64_t layers;
  int64_t hidden;
  int64_t intermediate;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_size;
  int64_t positions;  // 0: no limit
  double epsilon;
  Activation activation;
};

// Throws ModelError.
PlainSizes plain_sizes(const Config& config, const PlainFields& fields);

// Causal, to all positions.
kernels::AttentionShape plain_attention(const PlainSizes& sizes);

// Queries, keys and values from a matrix in which each head's stand together, or each group's: its queries, its key,
// its value.
std::unique_ptr<Linear> interleaved_qkv(const WeightReader& weights, const std::string& name, const PlainSizes& sizes,
                                        bool biased, const Execution& execution);

FeedForward plain_network(const WeightReader& weights, const std::string& up, const std::string& down,
                          const PlainSizes& sizes, bool biased, const Execution& execution);

// Of the first numbers of each head, a share of them: by rope_parameters, or rope_theta (`theta_field`), rope_scaling
// and `share_field`.
std::shared_ptr<const Rotary> partial_rotary(const Config& config, const char* theta_field, const char* share_field,
                                             double share, const PlainSizes& sizes, const Execution& execution);

// What ALiBi adds to each head's scores for a position (Press et al. 2021, arXiv:2108.12409).
std::vector<float> alibi_slopes(int64_t heads);

}  // namespace predictor
