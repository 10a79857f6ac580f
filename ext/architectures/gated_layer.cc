#include "architectures/gated_layer.h"

#include <cmath>
#include <utility>

namespace predictor {

GatedSizes gated_sizes(const Config& config, const std::string& activation_field) {
  config.ignore({"is_decoder"});
  const int64_t hidden = config.size("hidden_size");
  const int64_t heads = config.size("num_attention_heads");
  const GatedSizes sizes{
      .layers = config.size("num_hidden_layers"),
      .hidden = hidden,
      .intermediate = config.size("intermediate_size"),
      .heads = heads,
      .kv_heads = config.size("num_key_value_heads", heads),
      .head_size = config.size("head_dim", std::max<int64_t>(hidden / heads, 1)),
      .positions = config.size("max_position_embeddings"),
      .epsilon = config.number("rms_norm_eps", 1e-6),
      .activation = activation_named(config.text(activation_field, "silu"), "config.json: " + activation_field),
      .norm = NormKind::rms};
  if (heads % sizes.kv_heads != 0) config.refuse("num_key_value_heads", "it must divide num_attention_heads");
  if (sizes.head_size % 2 != 0) config.refuse("head_dim", "it must be even");
  return sizes;
}

kernels::AttentionShape gated_attention(const GatedSizes& sizes, bool causal) {
  return {.heads = static_cast<size_t>(sizes.heads),
          .kv_heads = static_cast<size_t>(sizes.kv_heads),
          .head_size = static_cast<size_t>(sizes.head_size),
          .scale = 1 / std::sqrt(static_cast<float>(sizes.head_size)),
          .causal = causal};
}

FeedForward gated_network(const WeightReader& weights, const GatedSizes& sizes, int64_t intermediate,
                          const Execution& execution, bool fused, bool biased) {
  const int64_t hidden = sizes.hidden;
  return {.up = fused ? Linear::read(weights, "gate_up_proj", hidden, 2 * intermediate, biased, execution)
                      : Linear::read(weights, {"gate_proj", "up_proj"}, hidden, {intermediate, intermediate}, biased,
                                     execution),
          .activation = sizes.activation,
          .gated = true,
          .down = Linear::read(weights, "down_proj", intermediate, hidden, biased, execution)};
}

std::shared_ptr<const TransformerLayer> gated_layer(const WeightReader& weights, const GatedSizes& sizes,
                                                    GatedLayerOptions options, const Execution& execution) {
  const auto norm = [&](const std::string& name, int64_t size) {
    return Norm(weights, name, size, sizes.epsilon, execution, sizes.norm);
  };
  const int64_t queries = sizes.heads * sizes.head_size;
  const int64_t keys = sizes.kv_heads * sizes.head_size;
  const int64_t hidden = sizes.hidden;
  const WeightReader attention = weights["self_attn"];
  auto qkv = options.fused
                 ? Linear::read(attention, "qkv_proj", hidden, queries + 2 * keys, options.qkv_bias, execution)
                 : Linear::read(attention, {"q_proj", "k_proj", "v_proj"}, hidden, {queries, keys, keys},
                                options.qkv_bias, execution);
  TransformerLayer layer{
      .attention = {.qkv = std::move(qkv),
                    .out = Linear::read(attention, "o_proj", queries, hidden, options.out_bias, execution),
                    .shape = options.shape,
                    .rotary = std::move(options.rotary)},
      .attention_norms = {.input = norm("input_layernorm", hidden)},
      .feed_forward = options.mixture ? FeedForward{.mixture = std::move(options.mixture)}
                                      : gated_network(weights["mlp"], sizes, sizes.intermediate, execution,
                                                      options.fused, options.network_bias),
      .feed_forward_norms = {}};
  if (options.query_and_key_norms) {
    layer.attention.query_norm = norm("self_attn.q_norm", sizes.head_size);
    layer.attention.key_norm = norm("self_attn.k_norm", sizes.head_size);
  }
  if (options.norms_around) {
    layer.attention_norms.output = norm("post_attention_layernorm", hidden);
    layer.feed_forward_norms.input = norm("pre_feedforward_layernorm", hidden);
    layer.feed_forward_norms.output = norm("post_feedforward_layernorm", hidden);
  } else {
    layer.feed_forward_norms.input = norm("post_attention_layernorm", hidden);
  }
  return std::make_shared<TransformerLayer>(std::move(layer));
}

ClassHead last_token_classifier(const Config& config) {
  ClassHead head{.input = ClassHead::Input::last, .layers = {}, .out = "score", .biased = false};
  if (config.has("pad_token_id")) head.padding = config.whole("pad_token_id", 0);
  return head;
}

std::shared_ptr<const Rotary> rotary_of(const Config& config, double theta, const GatedSizes& sizes,
                                        const Execution& execution) {
  theta = config.number("rope_theta", theta);
  double share = config.number("partial_rotary_factor", 1);
  const int64_t original = config.size("original_max_position_embeddings", sizes.positions);
  const auto rotated = [&] {
    const auto numbers = static_cast<int64_t>(static_cast<double>(sizes.head_size) * share);
    if (numbers < 2 || numbers > sizes.head_size || numbers % 2 != 0) {
      config.refuse("partial_rotary_factor", "an even number of each head's numbers must turn");
    }
    return numbers;
  };
  for (const char* field : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(field)) continue;
    const Config scaling = config.object(field);
    share = scaling.number("partial_rotary_factor", share);
    return std::make_shared<Rotary>(scaling.number("rope_theta", theta), rotated(), scaling, sizes.positions, execution,
                                    original);
  }
  return std::make_shared<Rotary>(theta, rotated(), execution);
}

}  // namespace predictor
