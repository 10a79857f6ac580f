// GTE's own architecture ("new" and "gte" in config.json; Zhang et al. 2024, arXiv:2407.19669): BERT with rotary
// positions and gated networks.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"

namespace predictor {

namespace {

std::shared_ptr<const Rotary> gte_rotary(const Config& config, const BertSizes& sizes, const Execution& execution) {
  const int64_t head_size = sizes.hidden / sizes.heads;
  double theta = config.number("rope_theta", 10'000);
  if (config.has("rope_parameters")) {
    const Config own = config.object("rope_parameters");
    return std::make_shared<Rotary>(own.number("rope_theta", theta), head_size, own, sizes.positions, execution);
  }
  if (!config.has("rope_scaling")) return std::make_shared<Rotary>(theta, head_size, execution);
  const Config scaling = config.object("rope_scaling");
  // Its own form: theta grows by the factor, and each frequency shrinks by a power of it.
  if (scaling.text("type", "") != "ntk" || scaling.has("mixed_b")) {
    scaling.refuse("type", "only ntk, without mixed_b, is served");
  }
  return std::make_shared<Rotary>(Rotary::ntk(theta, head_size, scaling.number("factor", 1), execution));
}

}  // namespace

TextTransformer make_gte(const Config& config, const WeightReader& weights, const Execution& execution) {
  BertSizes sizes = bert_sizes(config);
  sizes.types = config.whole("type_vocab_size", 1);
  config.expect("position_embedding_type", "rope");
  config.expect("layer_norm_type", "layer_norm");
  config.expect("logn_attention_scale", false);
  config.expect("pack_qkv", true);
  config.ignore({"unpad_inputs", "use_memory_efficient_attention", "logn_attention_clip1", "attention_window"});
  const WeightReader model = weights.below_one_of({"", "new", "gte", "model"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{
      .embeddings = bert_embeddings(model["embeddings"], sizes, execution, sizes.hidden, /*has_positions=*/false),
      .layers = {},
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions};
  const auto rotary = gte_rotary(config, sizes, execution);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(
        rotary_layer(model, i, sizes, rotary, {.gated = true, .qkv_bias = true, .down_bias = true}, execution));
  }
  const std::string name = weights.has("new.pooler.dense.weight") ? "new" : "gte";
  transformer.text_classes =
      ClassHead{.layers = {{.dense = name + ".pooler.dense", .activation = Activation::tanh}}, .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "lm_head.dense",
                                                         .activation = sizes.activation,
                                                         .norm = "lm_head.norm",
                                                         .epsilon = sizes.epsilon},
                                               .size = sizes.hidden,
                                               .decoder = "lm_head.decoder.weight",
                                               .bias = "lm_head.decoder.bias"};
  return transformer;
}

}  // namespace predictor
