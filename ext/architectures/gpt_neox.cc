// GPT-NeoX (arXiv:2204.06745) and Pythia: both parts of a layer take its input, each behind a norm of its own, and a
// share of each head turns.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_gpt_neox(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(config, {});
  const bool biased = config.flag("attention_bias", true);
  const bool parallel = config.flag("use_parallel_residual", true);
  const WeightReader model = weights.below_one_of({"gpt_neox", ""}, "embed_in.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const auto rotary = partial_rotary(config, "rotary_emb_base", "rotary_pct", 0.25, sizes, execution);
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_in.weight", config.size("vocab_size"), sizes.hidden)},
      .layers = {},
      .final_norm = norm(model, "final_layer_norm"),
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.weight = "embed_out", .tied = config.flag("tie_word_embeddings", false)}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = interleaved_qkv(layer, "attention.query_key_value", sizes, biased, execution),
                      .out = Linear::read(layer, "attention.dense", sizes.hidden, sizes.hidden, biased, execution),
                      .shape = plain_attention(sizes),
                      .rotary = rotary},
        .attention_norms = {.input = norm(layer, "input_layernorm")},
        .feed_forward = plain_network(layer, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", sizes, true, execution),
        .feed_forward_norms = {.input = norm(layer, "post_attention_layernorm")},
        .parallel = parallel}));
  }
  return transformer;
}

}  // namespace predictor
