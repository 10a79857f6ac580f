// ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT with embeddings of another size, and a head of its own.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

TextTransformer make_electra(const Config& config, const WeightReader& weights, const Execution& execution) {
  const BertSizes sizes = bert_sizes(config);
  const int64_t size = config.size("embedding_size", sizes.hidden);
  config.expect("is_decoder", false);
  config.expect("add_cross_attention", false);
  config.expect("position_embedding_type", "absolute");
  const WeightReader electra = weights.below_one_of({"", "electra"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{.embeddings = bert_embeddings(electra["embeddings"], sizes, execution, size),
                              .layers = bert_layers(electra["encoder.layer"], sizes, execution),
                              .hidden_size = sizes.hidden,
                              .max_positions = sizes.positions};
  if (size != sizes.hidden) {
    transformer.embeddings.projection =
        Linear::read(electra, "embeddings_project", size, sizes.hidden, true, execution);
  }
  transformer.text_classes = ClassHead{.layers = {{.dense = "classifier.dense", .activation = Activation::gelu}},
                                       .out = "classifier.out_proj"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "generator_predictions.dense",
                                                         .activation = Activation::gelu,
                                                         .norm = "generator_predictions.LayerNorm",
                                                         .epsilon = sizes.epsilon},
                                               .size = size,
                                               .decoder = "generator_lm_head.weight",
                                               .bias = "generator_lm_head.bias"};
  return transformer;
}

}  // namespace predictor
