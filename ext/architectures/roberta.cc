// RoBERTa (Liu et al. 2019, arXiv:1907.11692), XLM-RoBERTa and CamemBERT: BERT whose positions begin behind the padding
// token's id, and with heads of its own.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

TextTransformer make_roberta(const Config& config, const WeightReader& weights, const Execution& execution) {
  const BertSizes sizes = bert_sizes(config);
  config.expect("is_decoder", false);
  config.expect("add_cross_attention", false);
  config.expect("position_embedding_type", "absolute");
  const WeightReader roberta =
      weights.below_one_of({"", "roberta", "camembert", "xlm_roberta"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{.embeddings = bert_embeddings(roberta["embeddings"], sizes, execution),
                              .layers = bert_layers(roberta["encoder.layer"], sizes, execution),
                              .hidden_size = sizes.hidden};
  count_behind_padding(config.whole("pad_token_id", 1), sizes, transformer);
  transformer.text_classes = dense_tanh_classifier();
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "lm_head.dense",
                                                         .activation = Activation::gelu,
                                                         .norm = "lm_head.layer_norm",
                                                         .epsilon = sizes.epsilon},
                                               .size = sizes.hidden,
                                               .decoder = "lm_head.decoder.weight",
                                               .bias = "lm_head.bias"};
  return transformer;
}

}  // namespace predictor
