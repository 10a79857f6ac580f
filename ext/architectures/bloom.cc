// BLOOM (arXiv:2211.05100): no positions but ALiBi's, and a norm behind the embeddings.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_bloom(const Config& config, const WeightReader& weights, const Execution& execution) {
  const char* const hidden_field = config.has("n_embed") ? "n_embed" : "hidden_size";  // older files say n_embed
  const char* const heads_field = config.has("num_attention_heads") ? "num_attention_heads" : "n_head";
  const PlainSizes sizes = plain_sizes(config, {.layers = "n_layer",
                                                .hidden = hidden_field,
                                                .heads = heads_field,
                                                .positions = "",
                                                .epsilon = "layer_norm_epsilon",
                                                .activation = ""});
  config.expect("apply_residual_connection_post_layernorm", false);
  config.ignore({"pretraining_tp", "slow_but_exact", "seq_length", "hidden_size", "n_head", "masked_softmax_fusion",
                 "bias_dropout_fusion", "attention_softmax_in_fp32", "skip_bias_add", "skip_bias_add_qkv",
                 "unk_token_id", "offset_alibi"});
  const WeightReader model = weights.below_one_of({"transformer", ""}, "word_embeddings.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "word_embeddings.weight", config.size("vocab_size"), sizes.hidden),
                     .norm = Norm(model, "word_embeddings_layernorm", sizes.hidden, sizes.epsilon,
                                  on_processor(execution))},
      .layers = {},
      .final_norm = norm(model, "ln_f"),
      .hidden_size = sizes.hidden,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["h"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = interleaved_qkv(layer, "self_attention.query_key_value", sizes, true, execution),
                      .out = Linear::read(layer, "self_attention.dense", sizes.hidden, sizes.hidden, true, execution),
                      .shape = plain_attention(sizes),
                      .slopes = alibi_slopes(sizes.heads)},
        .attention_norms = {.input = norm(layer, "input_layernorm")},
        .feed_forward = plain_network(layer, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", sizes, true, execution),
        .feed_forward_norms = {.input = norm(layer, "post_attention_layernorm")}}));
  }
  return transformer;
}

}  // namespace predictor
