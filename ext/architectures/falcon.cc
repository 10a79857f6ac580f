// Falcon (arXiv:2311.16867): the old form, whose queries share one key or each have their own, and the new one with
// groups of them and a norm for each part of a layer.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

namespace {

struct Form {
  bool grouped;   // the new decoder architecture
  bool shared;    // one key and value for all queries
  bool parallel;  // both parts take what came in
  bool two_norms;
  bool biased;
};

Form form_of(const Config& config) {
  const bool grouped = config.flag("new_decoder_architecture", false);
  const bool parallel = config.flag("parallel_attn", true) || grouped;
  return {.grouped = grouped,
          .shared = !grouped && config.flag("multi_query", true),
          .parallel = parallel,
          .two_norms = grouped && config.size("num_ln_in_parallel_attn", 2) == 2,
          .biased = config.flag("bias", false)};
}

std::unique_ptr<Linear> qkv_of(const WeightReader& layer, const Form& form, const PlainSizes& sizes,
                               const Execution& execution) {
  const std::string name = "self_attention.query_key_value";
  if (!form.shared) return interleaved_qkv(layer, name, sizes, form.biased, execution);
  return Linear::read(layer, name, sizes.hidden, sizes.hidden + 2 * sizes.head_size, form.biased, execution);
}

}  // namespace

TextTransformer make_falcon(const Config& config, const WeightReader& weights, const Execution& execution) {
  const Form form = form_of(config);
  PlainSizes sizes = plain_sizes(config, {.kv_heads = form.grouped ? "num_kv_heads" : "",
                                          .intermediate = "ffn_hidden_size",
                                          .epsilon = "layer_norm_epsilon",
                                          .activation = "activation"});
  if (form.shared) sizes.kv_heads = 1;
  config.expect("alibi", false);  // of bfloat16 in the library, whatever the precision
  config.ignore({"num_kv_heads", "multi_query", "num_ln_in_parallel_attn"});
  const WeightReader model = weights.below_one_of({"transformer", ""}, "word_embeddings.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const auto rotary = partial_rotary(config, "rope_theta", "partial_rotary_factor", 1, sizes, execution);
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "word_embeddings.weight", config.size("vocab_size"), sizes.hidden)},
      .layers = {},
      .final_norm = norm(model, "ln_f"),
      .hidden_size = sizes.hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  const char* const first_norm = form.two_norms ? "ln_attn" : "input_layernorm";
  const char* const second_norm = form.two_norms  ? "ln_mlp"
                                  : form.parallel ? "input_layernorm"
                                                  : "post_attention_layernorm";
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["h"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = qkv_of(layer, form, sizes, execution),
                      .out = Linear::read(layer, "self_attention.dense", sizes.hidden, sizes.hidden, form.biased,
                                          execution),
                      .shape = plain_attention(sizes),
                      .rotary = rotary},
        .attention_norms = {.input = norm(layer, first_norm)},
        .feed_forward = plain_network(layer, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", sizes, form.biased, execution),
        .feed_forward_norms = {.input = norm(layer, second_norm)},
        .parallel = form.parallel}));
  }
  return transformer;
}

}  // namespace predictor
