// Phi 1, 1.5 and 2 (arXiv:2306.11644, arXiv:2309.05463): both parts of a layer take its input behind one norm, and a
// share of each head turns.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_phi(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(config, {});
  const bool normed = config.flag("qk_layernorm", false);
  const WeightReader model = weights.below_one_of({"model", ""}, "embed_tokens.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name, int64_t size) {
    return Norm(below, name, size, sizes.epsilon, execution);
  };
  const auto rotary = partial_rotary(config, "rope_theta", "partial_rotary_factor", 0.5, sizes, execution);
  const int64_t hidden = sizes.hidden;
  const int64_t keys = sizes.kv_heads * sizes.head_size;
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), hidden)},
      .layers = {},
      .final_norm = norm(model, "final_layernorm", hidden),
      .hidden_size = hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", false), .biased = true}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    const WeightReader attention = layer["self_attn"];
    TransformerLayer made{.attention = {.qkv = Linear::read(attention, {"q_proj", "k_proj", "v_proj"}, hidden,
                                                            {hidden, keys, keys}, true, execution),
                                        .out = Linear::read(attention, "dense", hidden, hidden, true, execution),
                                        .shape = plain_attention(sizes),
                                        .rotary = rotary},
                          .attention_norms = {.input = norm(layer, "input_layernorm", hidden)},
                          .feed_forward = plain_network(layer, "mlp.fc1", "mlp.fc2", sizes, true, execution),
                          .feed_forward_norms = {.input = norm(layer, "input_layernorm", hidden)},
                          .parallel = true};
    if (normed) {
      made.attention.query_norm = norm(attention, "q_layernorm", sizes.head_size);
      made.attention.key_norm = norm(attention, "k_layernorm", sizes.head_size);
    }
    transformer.layers.push_back(std::make_shared<TransformerLayer>(std::move(made)));
  }
  return transformer;
}

}  // namespace predictor
