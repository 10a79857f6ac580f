// NomicBERT (Nussbaum et al. 2024, arXiv:2402.01613): BERT with rotary positions and gated networks.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

struct Sizes {
  BertSizes bert;
  double theta;
  int64_t rotated;
  bool interleaved;
};

// Its own config.json has GPT-2's names; that of transformers has BERT's.
Sizes nomic_sizes(const Config& config) {
  if (!config.has("n_embd")) {
    BertSizes bert = bert_sizes(config, "silu");
    const double theta =
        config.has("rope_parameters") ? config.object("rope_parameters").number("rope_theta", 1000) : 1000;
    if (config.has("rope_parameters")) config.object("rope_parameters").expect("rope_type", "default");
    const int64_t head_size = bert.hidden / bert.heads;
    if (config.size("head_dim", head_size) != head_size) {
      config.refuse("head_dim", "only hidden_size / num_attention_heads is served");
    }
    return {.bert = bert, .theta = theta, .rotated = head_size, .interleaved = false};
  }
  for (const char* field : {"prenorm", "parallel_block", "parallel_block_tied_norm", "causal", "use_rms_norm",
                            "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "use_xentropy_of_head"}) {
    config.expect(field, false);
  }
  config.ignore({"n_ctx", "fused_bias_fc", "fused_dropout_add_ln", "use_flash_attn", "use_xentropy",
                 "pad_vocab_size_multiple", "residual_in_fp32", "reorder_and_upcast_attn",
                 "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "max_trained_positions", "n_positions",
                 "rotary_scaling_factor", "dense_seq_output", "last_layer_subset", "rotary_emb_scale_base",
                 "vocab_size", "type_vocab_size"});
  const std::string activation = config.text("activation_function", "swiglu");
  if (activation != "swiglu") config.refuse("activation_function", "only swiglu is served");
  const BertSizes bert{.layers = config.size("n_layer"),
                       .heads = config.size("n_head"),
                       .hidden = config.size("n_embd"),
                       .intermediate = config.size("n_inner"),
                       .vocabulary = config.size("vocab_size"),
                       .positions = config.size("n_positions"),
                       .types = config.whole("type_vocab_size", 2),
                       .epsilon = config.number("layer_norm_epsilon", 1e-12),
                       .activation = Activation::silu};
  const double share = config.number("rotary_emb_fraction", 1);
  const auto head_size = static_cast<double>(bert.hidden / bert.heads);
  return {.bert = bert,
          .theta = config.number("rotary_emb_base", 1000),
          .rotated = static_cast<int64_t>(head_size * share),
          .interleaved = config.flag("rotary_emb_interleaved", false)};
}

}  // namespace

TextTransformer make_nomic_bert(const Config& config, const WeightReader& weights, const Execution& execution) {
  const Sizes sizes = nomic_sizes(config);
  const BertSizes& bert = sizes.bert;
  const WeightReader model = weights.below_one_of({"", "nomic_bert", "bert"}, "embeddings.word_embeddings.weight");
  if (sizes.rotated % 2 != 0 || sizes.rotated < 2) config.refuse("rotary_emb_fraction", "it must leave an even number");
  const std::string norm = model.has("emb_ln.weight") ? "emb_ln" : "embeddings.LayerNorm";
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embeddings.word_embeddings.weight", bert.vocabulary, bert.hidden),
                     .norm = Norm(model, norm, bert.hidden, bert.epsilon, on_processor(execution))},
      .layers = {},
      .hidden_size = bert.hidden,
      .max_positions = bert.positions};
  if (bert.types > 0) {
    transformer.embeddings.types = Embedding(model, "embeddings.token_type_embeddings.weight", bert.types, bert.hidden);
  }
  const auto rotary = std::make_shared<Rotary>(sizes.theta, sizes.rotated, execution, sizes.interleaved);
  for (int64_t i = 0; i < bert.layers; ++i) {
    transformer.layers.push_back(rotary_layer(model, i, bert, rotary, {.gated = true}, execution));
  }
  transformer.text_classes =
      ClassHead{.layers = {{.dense = "nomic_bert.pooler.dense", .activation = Activation::tanh}}, .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  return transformer;
}

}  // namespace predictor
