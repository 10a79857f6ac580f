// Jina's XLM-RoBERTa with rotary positions (Sturua et al. 2024, arXiv:2409.10173), without its adapters for tasks.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

TextTransformer make_jina(const Config& config, const WeightReader& weights, const Execution& execution) {
  BertSizes sizes = bert_sizes(config);
  sizes.types = config.whole("type_vocab_size", 1);
  const int64_t head_size = sizes.hidden / sizes.heads;
  const WeightReader model =
      weights.below_one_of({"", "roberta", "jina_embeddings_v3", "model"}, "embeddings.word_embeddings.weight");
  const std::string norm = model.has("emb_ln.weight") ? "emb_ln" : "embeddings.LayerNorm";
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embeddings.word_embeddings.weight", sizes.vocabulary, sizes.hidden),
                     .types = Embedding(model, "embeddings.token_type_embeddings.weight", sizes.types, sizes.hidden),
                     .norm = Norm(model, norm, sizes.hidden, sizes.epsilon, on_processor(execution))},
      .layers = {},
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions};
  std::shared_ptr<const Rotary> rotary;
  if (config.has("rope_parameters")) {
    const Config own = config.object("rope_parameters");
    rotary = std::make_shared<Rotary>(own.number("rope_theta", 20'000), head_size, own, sizes.positions, execution);
  } else {
    rotary = std::make_shared<Rotary>(config.number("rotary_emb_base", 10'000), head_size, execution);
  }
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(rotary_layer(
        model, i, sizes, rotary, {.qkv_bias = true, .out_bias = true, .up_bias = true, .down_bias = true}, execution));
  }
  transformer.text_classes = dense_tanh_classifier();
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  return transformer;
}

}  // namespace predictor
