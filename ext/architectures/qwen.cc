// Qwen 2 and 3 (arXiv:2407.10671, arXiv:2505.09388), Llama, Mistral and SmolLM3: generators, embedders by their last
// token, rerankers and classifiers.
#include "architectures/architectures.h"
#include "architectures/gated_experts.h"
#include "architectures/gated_layer.h"

namespace predictor {

namespace {

struct Family {
  double theta;
  bool windowed;  // all layers, where the configuration has a sliding_window
  bool qkv_bias;  // where the configuration does not say
  bool query_and_key_norms;
  bool unturned = false;    // some layers know no positions
  bool tied = false;        // where the configuration does not say
  bool of_experts = false;  // networks are mixtures, in most layers
};

// Which layers know positions: by no_rope_layers (1: it does), or all but each of so many.
std::vector<bool> turned_layers(const Config& config, int64_t layers, bool some) {
  std::vector<bool> turned(static_cast<size_t>(layers), true);
  if (!some) return turned;
  const int64_t every = config.size("no_rope_layer_interval", 4);
  std::vector<double> given;
  if (config.has("no_rope_layers")) {
    given = config.numbers("no_rope_layers");
    if (given.size() != turned.size()) config.refuse("no_rope_layers", "it must have num_hidden_layers items");
  }
  for (size_t i = 0; i < turned.size(); ++i) {
    turned[i] = given.empty() ? (static_cast<int64_t>(i) + 1) % every != 0 : given[i] != 0;
  }
  return turned;
}

TextTransformer make_gated(const Config& config, const WeightReader& weights, const Execution& execution,
                           const Family& family) {
  const GatedSizes sizes = gated_sizes(config, "hidden_act");
  const bool attention_bias = config.flag("attention_bias", false);
  const bool network_bias = config.flag("mlp_bias", false);
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
  const std::vector<bool> turned = turned_layers(config, sizes.layers, family.unturned);
  const GatedExperts experts = family.of_experts ? gated_experts(config) : GatedExperts();
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    transformer.layers.push_back(
        gated_layer(layer, sizes,
                    {.shape = shape,
                     .rotary = turned[static_cast<size_t>(i)] ? rotary : nullptr,
                     .qkv_bias = family.qkv_bias || attention_bias,
                     .out_bias = attention_bias && !family.qkv_bias,
                     .network_bias = network_bias,
                     .query_and_key_norms = family.query_and_key_norms,
                     .mixture = experts.are_in(i) ? gated_mixture(layer["mlp"], experts, sizes, execution) : nullptr},
                    execution));
  }
  transformer.language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", family.tied)};
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

TextTransformer make_smollm3(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(config, weights, execution,
                    {.theta = 2'000'000,
                     .windowed = false,
                     .qkv_bias = false,
                     .query_and_key_norms = false,
                     .unturned = true,
                     .tied = true});
}

TextTransformer make_qwen3_moe(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gated(
      config, weights, execution,
      {.theta = 10'000, .windowed = false, .qkv_bias = false, .query_and_key_norms = true, .of_experts = true});
}

}  // namespace predictor
