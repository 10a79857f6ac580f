// GPT-Neo (Black et al. 2021): scores that are not scaled, and attention to a window in some layers.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

namespace {

// Of each layer: global, or local, which sees a window. attention_types says the same in another way.
std::vector<std::string> kinds_of(const Config& config, int64_t layers) {
  const std::vector<std::string> kinds = config.texts("attention_layers");
  if (static_cast<int64_t>(kinds.size()) != layers) config.refuse("attention_layers", "it must name each layer's kind");
  for (const std::string& kind : kinds) {
    if (kind != "global" && kind != "local") config.refuse("attention_layers", "served are global and local");
  }
  return kinds;
}

}  // namespace

TextTransformer make_gpt_neo(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(config, {.layers = "num_layers",
                                                .heads = "num_heads",
                                                .epsilon = "layer_norm_epsilon",
                                                .activation = "activation_function"});
  const int64_t window = config.size("window_size", 256);
  config.ignore({"attention_types"});
  const WeightReader model = weights.below_one_of({"transformer", ""}, "wte.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const int64_t hidden = sizes.hidden;
  TextTransformer transformer{.embeddings = {.words = Embedding(model, "wte.weight", config.size("vocab_size"), hidden),
                                             .positions = Embedding(model, "wpe.weight", sizes.positions, hidden)},
                              .layers = {},
                              .final_norm = norm(model, "ln_f"),
                              .hidden_size = hidden,
                              .max_positions = sizes.positions,
                              .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  const std::vector<std::string> kinds = kinds_of(config, sizes.layers);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["h"][i];
    const WeightReader attention = layer["attn"]["attention"];
    kernels::AttentionShape shape = plain_attention(sizes);
    shape.scale = 1;
    if (kinds[static_cast<size_t>(i)] == "local") shape.window = static_cast<size_t>(window - 1);
    transformer.layers.push_back(std::make_shared<TransformerLayer>(
        TransformerLayer{.attention = {.qkv = Linear::read(attention, {"q_proj", "k_proj", "v_proj"}, hidden,
                                                           {hidden, hidden, hidden}, false, execution),
                                       .out = Linear::read(attention, "out_proj", hidden, hidden, true, execution),
                                       .shape = shape},
                         .attention_norms = {.input = norm(layer, "ln_1")},
                         .feed_forward = plain_network(layer, "mlp.c_fc", "mlp.c_proj", sizes, true, execution),
                         .feed_forward_norms = {.input = norm(layer, "ln_2")}}));
  }
  return transformer;
}

}  // namespace predictor
