// MPNet (Song et al. 2020, arXiv:2004.09297): BERT with RoBERTa's positions and a bias by distance, the same in all
// layers.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"
#include "architectures/relative_bias.h"

namespace predictor {

TextTransformer make_mpnet(const Config& config, const WeightReader& weights, const Execution& execution) {
  constexpr int64_t kMaxDistance = 128;  // of the buckets; no field says it
  BertSizes sizes = bert_sizes(config);
  sizes.types = 0;
  const int64_t buckets = config.size("relative_attention_num_buckets", 32);
  const WeightReader mpnet = weights.below_one_of({"", "mpnet"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{
      .embeddings = bert_embeddings(mpnet["embeddings"], sizes, execution), .layers = {}, .hidden_size = sizes.hidden};
  const auto bias = std::make_shared<DistanceAttentionBias>(
      bucketed_bias(mpnet["encoder"].floats("relative_attention_bias.weight", {buckets, sizes.heads}), kMaxDistance));
  const int64_t hidden = sizes.hidden;
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = mpnet["encoder.layer"][i];
    const auto norm = [&](const std::string& name) { return Norm(layer, name, hidden, sizes.epsilon, execution); };
    const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
      return Linear::read(layer, name, in, out, true, execution);
    };
    transformer.layers.push_back(std::make_shared<TransformerLayer>(
        TransformerLayer{.attention = {.qkv = Linear::read(layer["attention.attn"], {"q", "k", "v"}, hidden,
                                                           {hidden, hidden, hidden}, true, execution),
                                       .out = linear("attention.attn.o", hidden, hidden),
                                       .shape = plain_attention(hidden, sizes.heads),
                                       .bias = bias},
                         .attention_norms = {.sum = norm("attention.LayerNorm")},
                         .feed_forward = {.up = linear("intermediate.dense", hidden, sizes.intermediate),
                                          .activation = sizes.activation,
                                          .down = linear("output.dense", sizes.intermediate, hidden)},
                         .feed_forward_norms = {.sum = norm("output.LayerNorm")}}));
  }
  count_behind_padding(1, sizes, transformer);
  transformer.text_classes = dense_tanh_classifier();
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "lm_head.dense",
                                                         .activation = Activation::gelu,
                                                         .norm = "lm_head.layer_norm",
                                                         .epsilon = sizes.epsilon},
                                               .size = hidden,
                                               .decoder = "lm_head.decoder.weight",
                                               .bias = "lm_head.bias"};
  return transformer;
}

}  // namespace predictor
