// GPT-J (Wang and Komatsuzaki 2021): both parts of a layer take its input behind one norm, and neighbours turn.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_gptj(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(config, {.layers = "n_layer",
                                                .hidden = "n_embd",
                                                .heads = "n_head",
                                                .intermediate = "n_inner",
                                                .positions = "n_positions",
                                                .epsilon = "layer_norm_epsilon",
                                                .activation = "activation_function"});
  const int64_t rotated = config.size("rotary_dim", sizes.head_size);
  if (rotated > sizes.head_size || rotated % 2 != 0) {
    config.refuse("rotary_dim", "it must be even, and at most n_embd / n_head");
  }
  config.ignore({"rotary", "scale_attn_weights"});
  const WeightReader model = weights.below_one_of({"transformer", ""}, "wte.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const auto rotary = std::make_shared<Rotary>(10'000, rotated, execution, true);
  const int64_t hidden = sizes.hidden;
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "wte.weight", config.size("vocab_size"), hidden)},
      .layers = {},
      .final_norm = norm(model, "ln_f"),
      .hidden_size = hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", false), .biased = true}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["h"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(
        TransformerLayer{.attention = {.qkv = Linear::read(layer["attn"], {"q_proj", "k_proj", "v_proj"}, hidden,
                                                           {hidden, hidden, hidden}, false, execution),
                                       .out = Linear::read(layer, "attn.out_proj", hidden, hidden, false, execution),
                                       .shape = plain_attention(sizes),
                                       .rotary = rotary},
                         .attention_norms = {.input = norm(layer, "ln_1")},
                         .feed_forward = plain_network(layer, "mlp.fc_in", "mlp.fc_out", sizes, true, execution),
                         .feed_forward_norms = {.input = norm(layer, "ln_1")},
                         .parallel = true}));
  }
  return transformer;
}

}  // namespace predictor
