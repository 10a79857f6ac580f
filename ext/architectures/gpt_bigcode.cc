// StarCoder and SantaCoder (arXiv:2305.06161): GPT-2 whose queries share one key and value.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_gpt_bigcode(const Config& config, const WeightReader& weights, const Execution& execution) {
  PlainSizes sizes = plain_sizes(config, {.layers = "n_layer",
                                          .hidden = "n_embd",
                                          .heads = "n_head",
                                          .kv_heads = "",
                                          .intermediate = "n_inner",
                                          .positions = "n_positions",
                                          .epsilon = "layer_norm_epsilon",
                                          .activation = "activation_function"});
  const bool shared = config.flag("multi_query", true);
  if (shared) sizes.kv_heads = 1;
  config.expect("add_cross_attention", false);
  config.expect("scale_attn_weights", true);
  config.ignore({"num_key_value_heads", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32",
                 "inference_runner", "max_batch_size", "max_sequence_length", "pad_key_length", "pre_allocate_kv_cache",
                 "validate_runner_input", "runner_max_sequence_length"});
  const WeightReader model = weights.below_one_of({"transformer", ""}, "wte.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const int64_t hidden = sizes.hidden;
  const auto qkv_of = [&](const WeightReader& attention) {
    if (!shared) return interleaved_qkv(attention, "c_attn", sizes, true, execution);
    return Linear::read(attention, "c_attn", hidden, hidden + 2 * sizes.head_size, true, execution);
  };
  TextTransformer transformer{.embeddings = {.words = Embedding(model, "wte.weight", config.size("vocab_size"), hidden),
                                             .positions = Embedding(model, "wpe.weight", sizes.positions, hidden)},
                              .layers = {},
                              .final_norm = norm(model, "ln_f"),
                              .hidden_size = hidden,
                              .max_positions = sizes.positions,
                              .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["h"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(
        TransformerLayer{.attention = {.qkv = qkv_of(layer["attn"]),
                                       .out = Linear::read(layer, "attn.c_proj", hidden, hidden, true, execution),
                                       .shape = plain_attention(sizes)},
                         .attention_norms = {.input = norm(layer, "ln_1")},
                         .feed_forward = plain_network(layer, "mlp.c_fc", "mlp.c_proj", sizes, true, execution),
                         .feed_forward_norms = {.input = norm(layer, "ln_2")}}));
  }
  return transformer;
}

}  // namespace predictor
