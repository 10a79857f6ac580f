// ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before each part, gated networks, rotary positions, and
// attention to a window in all layers but each third.
#include <cmath>

#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

namespace {

struct Sizes {
  int64_t layers;
  int64_t heads;
  int64_t hidden;
  int64_t intermediate;
  int64_t positions;
  double epsilon;
  Activation activation;
  bool attention_bias;
  bool mlp_bias;
};

Sizes modernbert_sizes(const Config& config) {
  return {
      .layers = config.size("num_hidden_layers"),
      .heads = config.size("num_attention_heads"),
      .hidden = config.size("hidden_size"),
      .intermediate = config.size("intermediate_size"),
      .positions = config.size("max_position_embeddings"),
      .epsilon = config.number("norm_eps", 1e-5),
      .activation = activation_named(config.text("hidden_activation", "gelu"), "config.json: hidden_activation"),
      .attention_bias = config.flag("attention_bias", false),
      .mlp_bias = config.flag("mlp_bias", false),
  };
}

// Of the layers of a kind: full_attention or sliding_attention.
std::shared_ptr<const Rotary> rotary_of(const Config& config, const std::string& kind, const std::string& old_field,
                                        double otherwise, const Sizes& sizes, const Execution& execution) {
  const double theta = config.number(old_field, otherwise);
  const int64_t head_size = sizes.hidden / sizes.heads;
  if (!config.has("rope_parameters")) return std::make_shared<Rotary>(theta, head_size, execution);
  const Config all = config.object("rope_parameters");
  if (!all.has(kind)) return std::make_shared<Rotary>(theta, head_size, execution);
  const Config own = all.object(kind);
  return std::make_shared<Rotary>(own.number("rope_theta", theta), head_size, own, sizes.positions, execution);
}

// Which layers see all: by layer_types, or each of so many.
std::vector<bool> full_layers(const Config& config, int64_t layers) {
  std::vector<bool> full;
  const int64_t every = config.size("global_attn_every_n_layers", 3);
  if (!config.has("layer_types")) {
    for (int64_t i = 0; i < layers; ++i) full.push_back(i % every == 0);
    return full;
  }
  for (const std::string& type : config.texts("layer_types")) {
    if (type != "full_attention" && type != "sliding_attention") {
      config.refuse("layer_types", "served are full_attention and sliding_attention");
    }
    full.push_back(type == "full_attention");
  }
  if (static_cast<int64_t>(full.size()) != layers) config.refuse("layer_types", "it must have num_hidden_layers items");
  return full;
}

void add_heads(const Config& config, const Sizes& sizes, TextTransformer& transformer) {
  const bool biased = config.flag("classifier_bias", false);
  const std::string pooling = config.text("classifier_pooling", "cls");
  if (pooling != "cls" && pooling != "mean") config.refuse("classifier_pooling", "served are cls and mean");
  const HeadLayer layer{.dense = "head.dense",
                        .biased = biased,
                        .activation = activation_named(config.text("classifier_activation", "gelu"),
                                                       "config.json: classifier_activation"),
                        .norm = "head.norm",
                        .epsilon = sizes.epsilon};
  transformer.text_classes = ClassHead{.input = pooling == "cls" ? ClassHead::Input::first : ClassHead::Input::mean,
                                       .layers = {layer},
                                       .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {layer}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = layer,
                                               .size = sizes.hidden,
                                               .decoder = "decoder.weight",
                                               .bias = config.flag("decoder_bias", true) ? "decoder.bias" : ""};
}

}  // namespace

TextTransformer make_modernbert(const Config& config, const WeightReader& weights, const Execution& execution) {
  const Sizes sizes = modernbert_sizes(config);
  config.ignore({"norm_bias", "deterministic_flash_attn", "reference_compile", "repad_logits_with_grad",
                 "sparse_prediction", "sparse_pred_ignore_index", "position_embedding_type", "layer_norm_eps"});
  const WeightReader model = weights.below_one_of({"", "model"}, "embeddings.tok_embeddings.weight");
  const int64_t hidden = sizes.hidden;
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embeddings.tok_embeddings.weight", config.size("vocab_size"), hidden),
                     .norm = Norm(model, "embeddings.norm", hidden, sizes.epsilon, on_processor(execution))},
      .layers = {},
      .final_norm = Norm(model, "final_norm", hidden, sizes.epsilon, execution),
      .hidden_size = hidden,
      .max_positions = sizes.positions};
  const auto global = rotary_of(config, "full_attention", "global_rope_theta", 160'000, sizes, execution);
  const auto local = rotary_of(config, "sliding_attention", "local_rope_theta", 10'000, sizes, execution);
  const int64_t window = config.size("local_attention", 128) / 2;  // to each side
  const std::vector<bool> full = full_layers(config, sizes.layers);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    const auto linear = [&](const std::string& name, int64_t in, int64_t out, bool biased) {
      return Linear::read(layer, name, in, out, biased, execution);
    };
    const auto norm = [&](const std::string& name) { return Norm(layer, name, hidden, sizes.epsilon, execution); };
    kernels::AttentionShape shape = plain_attention(hidden, sizes.heads);
    const bool sees_all = full[static_cast<size_t>(i)];
    if (!sees_all) shape.window = static_cast<size_t>(window);
    PartNorms attention_norms;
    if (i > 0) attention_norms.input = norm("attn_norm");
    transformer.layers.push_back(std::make_shared<TransformerLayer>(
        TransformerLayer{.attention = {.qkv = linear("attn.Wqkv", hidden, 3 * hidden, sizes.attention_bias),
                                       .out = linear("attn.Wo", hidden, hidden, sizes.attention_bias),
                                       .shape = shape,
                                       .rotary = sees_all ? global : local},
                         .attention_norms = std::move(attention_norms),
                         .feed_forward = {.up = linear("mlp.Wi", hidden, 2 * sizes.intermediate, sizes.mlp_bias),
                                          .activation = sizes.activation,
                                          .gated = true,
                                          .down = linear("mlp.Wo", sizes.intermediate, hidden, sizes.mlp_bias)},
                         .feed_forward_norms = {.input = norm("mlp_norm")}}));
  }
  add_heads(config, sizes, transformer);
  return transformer;
}

}  // namespace predictor
