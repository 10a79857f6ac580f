// Phi-3 and Phi-4 (arXiv:2404.14219, arXiv:2503.01743): Llama's layer with its matrices in one, and positions that are
// stretched unevenly.
#include "architectures/architectures.h"
#include "architectures/gated_layer.h"

namespace predictor {

namespace {

// LongRoPE has other frequencies for texts that are longer than the first context, and what was read with the ones is
// of no use to the others: texts end there.
int64_t positions_of(const Config& config, int64_t positions) {
  for (const char* field : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(field)) continue;
    const Config scaling = config.object(field);
    const std::string type = scaling.text(scaling.any_of({"rope_type", "type"}), "default");
    if (type == "default") break;
    const int64_t original = config.size("original_max_position_embeddings", positions);
    return std::min(positions, scaling.size("original_max_position_embeddings", original));
  }
  return positions;
}

}  // namespace

TextTransformer make_phi3(const Config& config, const WeightReader& weights, const Execution& execution) {
  const GatedSizes sizes = gated_sizes(config, "hidden_act");
  config.expect("attention_bias", false);
  config.ignore({"original_max_position_embeddings"});
  const WeightReader model = weights.below_one_of({"model", ""}, "embed_tokens.weight");
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), sizes.hidden)},
      .layers = {},
      .final_norm = Norm(model, "norm", sizes.hidden, sizes.epsilon, execution, sizes.norm),
      .hidden_size = sizes.hidden,
      .max_positions = positions_of(config, sizes.positions),
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", false)}};
  const auto rotary = rotary_of(config, 10'000, sizes, execution);
  kernels::AttentionShape shape = gated_attention(sizes, true);
  if (config.has("sliding_window")) shape.window = static_cast<size_t>(config.size("sliding_window") - 1);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(
        gated_layer(model["layers"][i], sizes, {.shape = shape, .rotary = rotary, .fused = true}, execution));
  }
  return transformer;
}

}  // namespace predictor
