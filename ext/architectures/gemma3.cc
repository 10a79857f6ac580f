// Gemma 3's text model (arXiv:2503.19786), and EmbeddingGemma, which reads whole texts with it: scaled embeddings,
// norms of 1 + weight around each part, and attention to a window in all layers but each sixth.
#include <cmath>

#include "architectures/architectures.h"
#include "architectures/gated_layer.h"

namespace predictor {

namespace {

struct Family {
  double theta;   // of layers that see all, where the configuration does not say
  int64_t every;  // layer of so many sees all, likewise
  bool query_and_key_norms;
};

// Which layers see all: by layer_types, or each of so many.
std::vector<bool> full_layers(const Config& config, int64_t layers, int64_t usual) {
  std::vector<bool> full;
  const int64_t every = config.size(config.any_of({"_sliding_window_pattern", "sliding_window_pattern"}), usual);
  config.ignore({"sliding_window_pattern", "_sliding_window_pattern"});
  if (!config.has("layer_types")) {
    for (int64_t i = 0; i < layers; ++i) full.push_back((i + 1) % every == 0);
    return full;
  }
  for (const std::string& type : config.texts("layer_types")) full.push_back(type == "full_attention");
  if (static_cast<int64_t>(full.size()) != layers) config.refuse("layer_types", "it must have num_hidden_layers items");
  return full;
}

std::shared_ptr<const Rotary> rotary_of_kind(const Config& config, const std::string& kind, double theta,
                                             const GatedSizes& sizes, const Execution& execution) {
  if (config.has("rope_parameters") && config.object("rope_parameters").has(kind)) {
    const Config own = config.object("rope_parameters").object(kind);
    return std::make_shared<Rotary>(own.number("rope_theta", theta), sizes.head_size, own, sizes.positions, execution);
  }
  if (config.has("rope_parameters")) return rotary_of(config, theta, sizes, execution);  // one for all kinds
  if (kind == "full_attention" && config.has("rope_scaling")) {
    return std::make_shared<Rotary>(theta, sizes.head_size, config.object("rope_scaling"), sizes.positions, execution);
  }
  return std::make_shared<Rotary>(theta, sizes.head_size, execution);
}

TextTransformer make_gemma(const Config& config, const WeightReader& weights, const Execution& execution,
                           const Family& family) {
  GatedSizes sizes = gated_sizes(config, "hidden_activation");
  sizes.norm = NormKind::rms_of_1_plus;
  const bool biased = config.flag("attention_bias", false);
  const bool is_causal = !config.flag("use_bidirectional_attention", false);
  const int64_t window = config.size("sliding_window", 4096);
  const auto logit_cap = static_cast<float>(config.number("final_logit_softcapping", 0));
  config.ignore({"cache_implementation", "hidden_act"});
  const double scalar = config.number("query_pre_attn_scalar", 256);
  const auto soft_cap = static_cast<float>(config.number("attn_logit_softcapping", 0));
  const WeightReader model = weights.below_one_of({"", "model"}, "embed_tokens.weight");
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), sizes.hidden),
                     .scale = std::sqrt(static_cast<float>(sizes.hidden))},
      .layers = {},
      .final_norm = Norm(model, "norm", sizes.hidden, sizes.epsilon, execution, sizes.norm),
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions};
  const auto global =
      rotary_of_kind(config, "full_attention", config.number("rope_theta", family.theta), sizes, execution);
  const auto local =
      rotary_of_kind(config, "sliding_attention", config.number("rope_local_base_freq", 10'000), sizes, execution);
  const std::vector<bool> full = full_layers(config, sizes.layers, family.every);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    kernels::AttentionShape shape = gated_attention(sizes, is_causal);
    shape.scale = static_cast<float>(1 / std::sqrt(scalar));
    shape.soft_cap = soft_cap;
    const bool sees_all = full[static_cast<size_t>(i)];
    // `window` tokens with itself; to both sides, half of them each
    if (!sees_all) shape.window = static_cast<size_t>(is_causal ? window - 1 : window / 2);
    transformer.layers.push_back(gated_layer(model["layers"][i], sizes,
                                             {.shape = shape,
                                              .rotary = sees_all ? global : local,
                                              .qkv_bias = biased,
                                              .out_bias = biased,
                                              .query_and_key_norms = family.query_and_key_norms,
                                              .norms_around = true},
                                             execution));
  }
  transformer.language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true), .soft_cap = logit_cap};
  transformer.text_classes = last_token_classifier(config);
  return transformer;
}

}  // namespace

TextTransformer make_gemma2(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gemma(config, weights, execution, {.theta = 10'000, .every = 2, .query_and_key_norms = false});
}

TextTransformer make_gemma3(const Config& config, const WeightReader& weights, const Execution& execution) {
  return make_gemma(config, weights, execution, {.theta = 1'000'000, .every = 6, .query_and_key_norms = true});
}

}  // namespace predictor
