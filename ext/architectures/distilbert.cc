// DistilBERT (Sanh et al. 2019, arXiv:1910.01108): half of BERT's layers, under other names.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

namespace {

constexpr double kEpsilon = 1e-12;

std::shared_ptr<const TransformerLayer> distilbert_layer(const WeightReader& weights, const BertSizes& sizes,
                                                         const Execution& execution) {
  const int64_t hidden = sizes.hidden;
  const auto norm = [&](const std::string& name) { return Norm(weights, name, hidden, kEpsilon, execution); };
  const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
    return Linear::read(weights, name, in, out, true, execution);
  };
  return std::make_shared<TransformerLayer>(
      TransformerLayer{.attention = {.qkv = Linear::read(weights["attention"], {"q_lin", "k_lin", "v_lin"}, hidden,
                                                         {hidden, hidden, hidden}, true, execution),
                                     .out = linear("attention.out_lin", hidden, hidden),
                                     .shape = plain_attention(hidden, sizes.heads)},
                       .attention_norms = {.sum = norm("sa_layer_norm")},
                       .feed_forward = {.up = linear("ffn.lin1", hidden, sizes.intermediate),
                                        .activation = sizes.activation,
                                        .down = linear("ffn.lin2", sizes.intermediate, hidden)},
                       .feed_forward_norms = {.sum = norm("output_layer_norm")}});
}

}  // namespace

TextTransformer make_distilbert(const Config& config, const WeightReader& weights, const Execution& execution) {
  const BertSizes sizes{.layers = config.size("n_layers"),
                        .heads = config.size("n_heads"),
                        .hidden = config.size("dim"),
                        .intermediate = config.size("hidden_dim"),
                        .vocabulary = config.size("vocab_size"),
                        .positions = config.size("max_position_embeddings"),
                        .types = 0,
                        .epsilon = kEpsilon,
                        .activation = activation_named(config.text("activation", "gelu"), "config.json: activation")};
  config.ignore({"sinusoidal_pos_embds"});  // the table is among the weights in either case
  const WeightReader distilbert = weights.below_one_of({"", "distilbert"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{.embeddings = bert_embeddings(distilbert["embeddings"], sizes, execution),
                              .layers = {},
                              .hidden_size = sizes.hidden,
                              .max_positions = sizes.positions};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(distilbert_layer(distilbert["transformer.layer"][i], sizes, execution));
  }
  transformer.text_classes =
      ClassHead{.layers = {{.dense = "pre_classifier", .activation = Activation::relu}}, .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "vocab_transform",
                                                         .activation = sizes.activation,
                                                         .norm = "vocab_layer_norm",
                                                         .epsilon = kEpsilon},
                                               .size = sizes.hidden,
                                               .decoder = "vocab_projector.weight",
                                               .bias = "vocab_projector.bias"};
  return transformer;
}

}  // namespace predictor
