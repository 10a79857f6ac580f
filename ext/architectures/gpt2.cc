// GPT-2 (Radford et al. 2019): learned positions, norms before each part, weights turned.
#include <cmath>

#include "architectures/architectures.h"

namespace predictor {

TextTransformer make_gpt2(const Config& config, const WeightReader& weights, const Execution& execution) {
  const int64_t hidden = config.size("n_embd");
  const int64_t inner = config.size("n_inner", 4 * hidden);
  const int64_t heads = config.size("n_head");
  const int64_t positions = config.size("n_positions");
  const double epsilon = config.number("layer_norm_epsilon", 1e-5);
  const Activation activation =
      activation_named(config.text("activation_function", "gelu_new"), "config.json: activation_function");
  if (hidden % heads != 0) config.refuse("n_head", "it must divide n_embd");
  config.expect("add_cross_attention", false);
  config.expect("scale_attn_weights", true);
  const bool scaled_by_layer = config.flag("scale_attn_by_inverse_layer_idx", false);
  config.ignore({"n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout",
                 "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  const WeightReader model = weights.below_one_of({"", "transformer"}, "wte.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, hidden, epsilon, execution);
  };
  TextTransformer transformer{.embeddings = {.words = Embedding(model, "wte.weight", config.size("vocab_size"), hidden),
                                             .positions = Embedding(model, "wpe.weight", positions, hidden)},
                              .layers = {},
                              .final_norm = norm(model, "ln_f"),
                              .hidden_size = hidden,
                              .max_positions = positions,
                              .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  for (int64_t i = 0; i < config.size("n_layer"); ++i) {
    const WeightReader layer = model["h"][i];
    const int64_t head_size = hidden / heads;
    const double divisor = scaled_by_layer ? static_cast<double>(i + 1) : 1;
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = Linear::read_turned(layer, "attn.c_attn", hidden, 3 * hidden, execution),
                      .out = Linear::read_turned(layer, "attn.c_proj", hidden, hidden, execution),
                      .shape = {.heads = static_cast<size_t>(heads),
                                .kv_heads = static_cast<size_t>(heads),
                                .head_size = static_cast<size_t>(head_size),
                                .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_size)) / divisor),
                                .causal = true}},
        .attention_norms = {.input = norm(layer, "ln_1")},
        .feed_forward = {.up = Linear::read_turned(layer, "mlp.c_fc", hidden, inner, execution),
                         .activation = activation,
                         .down = Linear::read_turned(layer, "mlp.c_proj", inner, hidden, execution)},
        .feed_forward_norms = {.input = norm(layer, "ln_2")}}));
  }
  return transformer;
}

}  // namespace predictor
