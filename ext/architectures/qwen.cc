// Qwen 2 and 3 (arXiv:2407.10671, arXiv:2505.09388), Llama and Mistral: generators, embedders by their last token,
// rerankers and classifiers.
#include "architectures/architectures.h"
#include "architectures/gated_layer.h"

namespace predictor {

namespace {

struct Family {
  double theta;
  bool windowed;  // all layers, where the configuration has a sliding_window
  bool qkv_bias;  // where the configuration does not say
  bool query_and_key_norms;
};

TextTransformer make_gated(const Config& config, const WeightReader& weights, const Execution& execution,
                           const Family& family) {
  const GatedSizes sizes = gated_sizes(config, "hidden_act");
  const bool attention_bias = config.flag("attention_bias", false);
  config.expect("mlp_bias", false);
  config.ignore({"pretraining_tp", "max_window_layers"});
  if (config.flag("use_sliding_window", false)) {
    config.refuse("use_sliding_window", "attention to a window is not served for this architecture");
  }
  const int64_t window = family.windowed && config.has("sliding_window") ? config.size("sliding_window") : 0;
  config.ignore({"sliding_window", "layer_types"});
  const bool is_causal = config.flag("is_causal", true) && !config.flag("use_bidirectional_attention", false);
  const WeightReader model = weights.below_one_of({"", "model"}, "embed_tokens.weight");
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), sizes.hidden)},
      .layers = {},
      .final_norm = Norm(model, "norm", sizes.hidden, sizes.epsilon, execution, sizes.norm),
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions};
  const auto rotary = rotary_of(config, family.theta, sizes, execution);
  kernels::AttentionShape shape = gated_attention(sizes, is_causal);
  if (window > 0) shape.window = static_cast<size_t>(window - 1);  // `window` tokens with itself
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(gated_layer(model["layers"][i], sizes,
                                             {.shape = shape,
                                              .rotary = rotary,
                                              .qkv_bias = family.qkv_bias || attention_bias,
                                              .out_bias = attention_bias && !family.qkv_bias,
                                              .query_and_key_norms = family.query_and_key_norms},
                                             execution));
  }
  transformer.language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", false)};
  transformer.text_classes = last_token_classifier(config);
  transformer.token_classes = ClassHead{.layers = {}, .out = "score"};
  return transformer;
}

}  // namespace

TextTransformer make_qwen2(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(config, weights, execution,
                    {.theta = 10'000, .windowed = false, .qkv_bias = true, .query_and_key_norms = false});
}

TextTransformer make_qwen3(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(config, weights, execution,
                    {.theta = 10'000, .windowed = false, .qkv_bias = false, .query_and_key_norms = true});
}

TextTransformer make_llama(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(config, weights, execution,
                    {.theta = 10'000, .windowed = false, .qkv_bias = false, .query_and_key_norms = false});
}

TextTransformer make_mistral(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(config, weights, execution,
                    {.theta = 10'000, .windowed = true, .qkv_bias = false, .query_and_key_norms = false});
}

}  // namespace predictor
