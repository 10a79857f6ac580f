// StarCoder 2 (arXiv:2402.19173): LayerNorm, biases, fewer keys than queries, and a window.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_starcoder2(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(config, {.epsilon = "norm_epsilon"});
  const bool biased = config.flag("use_bias", true);
  config.ignore({"mlp_type", "norm_type", "layer_types"});
  const WeightReader model = weights.below_one_of({"model", ""}, "embed_tokens.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const auto rotary = partial_rotary(config, "rope_theta", "partial_rotary_factor", 1, sizes, execution);
  kernels::AttentionShape shape = plain_attention(sizes);
  if (config.has("sliding_window")) shape.window = static_cast<size_t>(config.size("sliding_window") - 1);
  const int64_t hidden = sizes.hidden;
  const int64_t keys = sizes.kv_heads * sizes.head_size;
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), hidden)},
      .layers = {},
      .final_norm = norm(model, "norm"),
      .hidden_size = hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = Linear::read(layer["self_attn"], {"q_proj", "k_proj", "v_proj"}, hidden,
                                          {hidden, keys, keys}, biased, execution),
                      .out = Linear::read(layer, "self_attn.o_proj", hidden, hidden, biased, execution),
                      .shape = shape,
                      .rotary = rotary},
        .attention_norms = {.input = norm(layer, "input_layernorm")},
        .feed_forward = plain_network(layer, "mlp.c_fc", "mlp.c_proj", sizes, biased, execution),
        .feed_forward_norms = {.input = norm(layer, "post_attention_layernorm")}}));
  }
  return transformer;
}

}  // namespace predictor
