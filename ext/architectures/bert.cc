// BERT (Devlin et al. 2018, arXiv:1810.04805).
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

TextTransformer make_bert(const Config& config, const WeightReader& weights, const Execution& execution) {
  const BertSizes sizes = bert_sizes(config);
  config.expect("is_decoder", false);
  config.expect("add_cross_attention", false);
  config.expect("position_embedding_type", "absolute");
  const WeightReader bert = weights.below_one_of({"", "bert"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{.embeddings = bert_embeddings(bert["embeddings"], sizes, execution),
                              .layers = bert_layers(bert["encoder.layer"], sizes, execution),
                              .hidden_size = sizes.hidden,
                              .max_positions = sizes.positions};
  transformer.text_classes =
      ClassHead{.layers = {{.dense = "bert.pooler.dense", .activation = Activation::tanh}}, .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "cls.predictions.transform.dense",
                                                         .activation = sizes.activation,
                                                         .norm = "cls.predictions.transform.LayerNorm",
                                                         .epsilon = sizes.epsilon},
                                               .size = sizes.hidden,
                                               .decoder = "cls.predictions.decoder.weight",
                                               .bias = "cls.predictions.bias"};
  return transformer;
}

}  // namespace predictor
