// ALBERT (Lan et al. 2019, arXiv:1909.11942): layers that share their weights, and small embeddings.
#include <vector>

#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

namespace {

std::shared_ptr<const TransformerLayer> albert_layer(const WeightReader& weights, const BertSizes& sizes,
                                                     const Execution& execution) {
  const int64_t hidden = sizes.hidden;
  const auto norm = [&](const std::string& name) { return Norm(weights, name, hidden, sizes.epsilon, execution); };
  return std::make_shared<TransformerLayer>(TransformerLayer{
      .attention = {.qkv = Linear::read(weights["attention"], {"query", "key", "value"}, hidden,
                                        {hidden, hidden, hidden}, true, execution),
                    .out = Linear::read(weights, "attention.dense", hidden, hidden, true, execution),
                    .shape = plain_attention(hidden, sizes.heads)},
      .attention_norms = {.sum = norm("attention.LayerNorm")},
      .feed_forward = {.up = Linear::read(weights, "ffn", hidden, sizes.intermediate, true, execution),
                       .activation = sizes.activation,
                       .down = Linear::read(weights, "ffn_output", sizes.intermediate, hidden, true, execution)},
      .feed_forward_norms = {.sum = norm("full_layer_layer_norm")}});
}

}  // namespace

TextTransformer make_albert(const Config& config, const WeightReader& weights, const Execution& execution) {
  const BertSizes sizes = bert_sizes(config, "gelu_new");
  const int64_t size = config.size("embedding_size", 128);
  const int64_t groups = config.size("num_hidden_groups", 1);
  const int64_t inner = config.size("inner_group_num", 1);
  config.expect("position_embedding_type", "absolute");
  config.ignore({"net_structure_type", "num_memory_blocks", "gap_size", "down_scale_factor"});
  const WeightReader albert = weights.below_one_of({"", "albert"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{.embeddings = bert_embeddings(albert["embeddings"], sizes, execution, size),
                              .layers = {},
                              .hidden_size = sizes.hidden,
                              .max_positions = sizes.positions};
  transformer.embeddings.projection =
      Linear::read(albert["encoder"], "embedding_hidden_mapping_in", size, sizes.hidden, true, execution);
  std::vector<std::shared_ptr<const TransformerLayer>> shared;
  for (int64_t i = 0; i < groups * inner; ++i) {
    shared.push_back(
        albert_layer(albert["encoder.albert_layer_groups"][i / inner]["albert_layers"][i % inner], sizes, execution));
  }
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const int64_t group = i * groups / sizes.layers;
    for (int64_t j = 0; j < inner; ++j) {
      transformer.layers.push_back(shared[static_cast<size_t>(group * inner + j)]);
    }
  }
  transformer.text_classes =
      ClassHead{.layers = {{.dense = "albert.pooler", .activation = Activation::tanh}}, .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "predictions.dense",
                                                         .activation = sizes.activation,
                                                         .norm = "predictions.LayerNorm",
                                                         .epsilon = sizes.epsilon},
                                               .size = size,
                                               .decoder = "predictions.decoder.weight",
                                               .bias = "predictions.bias"};
  return transformer;
}

}  // namespace predictor
