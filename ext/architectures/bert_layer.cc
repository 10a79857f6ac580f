#include "architectures/bert_layer.h"

#include <ATen/ops/cat.h>

#include <cmath>
#include <utility>

#include "weights/model_error.h"

namespace predictor {

BertSizes bert_sizes(const Config& config, const std::string& activation) {
  return {.layers = config.size("num_hidden_layers"),
          .heads = config.size("num_attention_heads"),
          .hidden = config.size("hidden_size"),
          .intermediate = config.size("intermediate_size"),
          .vocabulary = config.size("vocab_size"),
          .positions = config.size("max_position_embeddings"),
          .types = config.whole("type_vocab_size", 2),
          .epsilon = config.number("layer_norm_eps", 1e-12),
          .activation = activation_named(config.text("hidden_act", activation), "config.json: hidden_act")};
}

kernels::AttentionShape plain_attention(int64_t size, int64_t heads) {
  if (size % heads != 0) {
    throw ModelError("config.json: the hidden size (" + std::to_string(size) + ") is no multiple of the heads (" +
                     std::to_string(heads) + ")");
  }
  const auto head_size = static_cast<size_t>(size / heads);
  return {.heads = static_cast<size_t>(heads),
          .kv_heads = static_cast<size_t>(heads),
          .head_size = head_size,
          .scale = 1 / std::sqrt(static_cast<float>(head_size))};
}

TokenEmbeddings bert_embeddings(const WeightReader& weights, const BertSizes& sizes, const Execution& execution,
                                int64_t size, bool has_positions) {
  if (size == 0) size = sizes.hidden;
  TokenEmbeddings embeddings{.words = Embedding(weights, "word_embeddings.weight", sizes.vocabulary, size)};
  if (has_positions) {
    embeddings.positions = Embedding(weights, "position_embeddings.weight", sizes.positions, size);
  }
  if (sizes.types > 0) embeddings.types = Embedding(weights, "token_type_embeddings.weight", sizes.types, size);
  if (weights.shape("LayerNorm.weight") == std::vector<int64_t>{size} || size == sizes.hidden) {
    embeddings.norm = Norm(weights, "LayerNorm", size, sizes.epsilon, on_processor(execution));
  }
  return embeddings;
}

std::shared_ptr<TransformerLayer> bert_layer(const WeightReader& weights, const BertSizes& sizes,
                                             std::initializer_list<std::string> qkv, const Execution& execution) {
  const int64_t hidden = sizes.hidden;
  const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
    return Linear::read(weights, name, in, out, true, execution);
  };
  const auto norm = [&](const std::string& name) { return Norm(weights, name, hidden, sizes.epsilon, execution); };
  return std::make_shared<TransformerLayer>(TransformerLayer{
      .attention = {.qkv =
                        Linear::read(weights["attention.self"], qkv, hidden, {hidden, hidden, hidden}, true, execution),
                    .out = linear("attention.output.dense", hidden, hidden),
                    .shape = plain_attention(hidden, sizes.heads)},
      .attention_norms = {.sum = norm("attention.output.LayerNorm")},
      .feed_forward = {.up = linear("intermediate.dense", hidden, sizes.intermediate),
                       .activation = sizes.activation,
                       .down = linear("output.dense", sizes.intermediate, hidden)},
      .feed_forward_norms = {.sum = norm("output.LayerNorm")}});
}

std::vector<std::shared_ptr<const TransformerLayer>> bert_layers(const WeightReader& weights, const BertSizes& sizes,
                                                                 const Execution& execution) {
  std::vector<std::shared_ptr<const TransformerLayer>> layers;
  for (int64_t i = 0; i < sizes.layers; ++i) {
    layers.push_back(bert_layer(weights[i], sizes, {"query", "key", "value"}, execution));
  }
  return layers;
}

namespace {

// The first of the names that the folder has.
std::string one_of(const WeightReader& weights, std::initializer_list<const char*> names) {
  for (const std::string name : names) {
    if (weights.has(name + ".weight")) return name;
  }
  throw ModelError("there is no weight " + std::string(*names.begin()) + ".weight in a layer");
}

std::unique_ptr<Linear> rotary_qkv(const WeightReader& layer, int64_t hidden, bool biased, const Execution& execution) {
  if (layer.has("self_attn.q_proj.weight")) {
    return Linear::read(layer["self_attn"], {"q_proj", "k_proj", "v_proj"}, hidden, {hidden, hidden, hidden}, biased,
                        execution);
  }
  const std::string name = one_of(layer, {"attention.qkv_proj", "attn.Wqkv", "mixer.Wqkv"});
  return Linear::read(layer, name, hidden, 3 * hidden, biased, execution);
}

// The gate first, then what it is multiplied with.
std::unique_ptr<Linear> rotary_up(const WeightReader& mlp, int64_t hidden, int64_t inner, const Execution& execution) {
  if (mlp.has("gate_proj.weight")) {
    return Linear::read(mlp, {"gate_proj", "up_proj"}, hidden, {inner, inner}, false, execution);
  }
  if (mlp.has("fc12.weight")) return Linear::read(mlp, {"fc12", "fc11"}, hidden, {inner, inner}, false, execution);
  const at::Tensor both = mlp.tensor("up_gate_proj.weight", {2 * inner, hidden});
  return Linear::make(execution, at::cat({both.narrow(0, inner, inner), both.narrow(0, 0, inner)}), at::Tensor());
}

}  // namespace

std::shared_ptr<const TransformerLayer> rotary_layer(const WeightReader& model, int64_t number, const BertSizes& sizes,
                                                     const std::shared_ptr<const Rotary>& rotary,
                                                     const RotaryLayerOptions& options, const Execution& execution) {
  const int64_t hidden = sizes.hidden;
  const int64_t inner = sizes.intermediate;
  const std::string place = "." + std::to_string(number);
  const auto is_there = [&](const std::string& layers) {
    return model.has(layers + place + ".self_attn.o_proj.weight") ||
           model.has(layers + place + ".attn.out_proj.weight") ||
           model.has(layers + place + ".attention.o_proj.weight") ||
           model.has(layers + place + ".mixer.out_proj.weight");
  };
  const std::string layers =
      is_there("layers") ? "layers" : (is_there("encoder.layers") ? "encoder.layers" : "encoder.layer");
  const WeightReader layer = model[layers + place];
  const auto norm = [&](std::initializer_list<const char*> names) {
    return Norm(layer, one_of(layer, names), hidden, sizes.epsilon, execution);
  };
  const std::string out = one_of(layer, {"self_attn.o_proj", "attention.o_proj", "attn.out_proj", "mixer.out_proj"});
  const WeightReader mlp = layer["mlp"];
  auto up = options.gated ? rotary_up(mlp, hidden, inner, execution)
                          : Linear::read(mlp, "fc1", hidden, inner, options.up_bias, execution);
  return std::make_shared<TransformerLayer>(
      TransformerLayer{.attention = {.qkv = rotary_qkv(layer, hidden, options.qkv_bias, execution),
                                     .out = Linear::read(layer, out, hidden, hidden,
                                                         options.out_bias || layer.has(out + ".bias"), execution),
                                     .shape = plain_attention(hidden, sizes.heads),
                                     .rotary = rotary},
                       .attention_norms = {.sum = norm({"post_attention_layernorm", "attn_ln", "norm1"})},
                       .feed_forward = {.up = std::move(up),
                                        .activation = sizes.activation,
                                        .gated = options.gated,
                                        .down = Linear::read(mlp, one_of(mlp, {"down_proj", "fc2"}), inner, hidden,
                                                             options.down_bias, execution)},
                       .feed_forward_norms = {.sum = norm({"post_mlp_layernorm", "mlp_ln", "norm2"})}});
}

void count_behind_padding(int64_t padding, const BertSizes& sizes, TextTransformer& transformer) {
  transformer.embeddings.padding = padding;
  transformer.embeddings.first_position = padding + 1;
  transformer.max_positions = sizes.positions - padding - 1;
  if (transformer.max_positions < 1) throw ModelError("config.json: max_position_embeddings leaves no room for a text");
}

ClassHead dense_tanh_classifier() {
  return {.layers = {{.dense = "classifier.dense", .activation = Activation::tanh}}, .out = "classifier.out_proj"};
}

}  // namespace predictor
