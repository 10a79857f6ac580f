// OPT (arXiv:2205.01068), and Galactica's form of it: learned positions that begin at the third row.
#include "architectures/architectures.h"
#include "architectures/plain_layer.h"

namespace predictor {

TextTransformer make_opt(const Config& config, const WeightReader& weights, const Execution& execution) {
  const PlainSizes sizes = plain_sizes(
      config, {.intermediate = "ffn_dim", .epsilon = "_layer_norm_epsilon", .activation = "activation_function"});
  constexpr int64_t kFirstPosition = 2;
  const bool biased = config.flag("enable_bias", true);
  config.expect("do_layer_norm_before", true);
  config.expect("_remove_final_layer_norm", false);
  config.expect("layer_norm_elementwise_affine", true);
  if (config.size("word_embed_proj_dim", sizes.hidden) != sizes.hidden) {
    config.refuse("word_embed_proj_dim", "only embeddings of hidden_size are served");
  }
  config.ignore({"init_std", "layerdrop"});
  const WeightReader model = weights.below_one_of({"model.decoder", "decoder", ""}, "embed_tokens.weight");
  const auto norm = [&](const WeightReader& below, const std::string& name) {
    return Norm(below, name, sizes.hidden, sizes.epsilon, execution);
  };
  const int64_t hidden = sizes.hidden;
  TextTransformer transformer{
      .embeddings = {.words = Embedding(model, "embed_tokens.weight", config.size("vocab_size"), hidden),
                     .positions = Embedding(model, "embed_positions.weight", sizes.positions + kFirstPosition, hidden),
                     .first_position = kFirstPosition},
      .layers = {},
      .final_norm = norm(model, "final_layer_norm"),
      .hidden_size = hidden,
      .max_positions = sizes.positions,
      .language_head = LanguageHead{.tied = config.flag("tie_word_embeddings", true)}};
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const WeightReader layer = model["layers"][i];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = Linear::read(layer["self_attn"], {"q_proj", "k_proj", "v_proj"}, hidden,
                                          {hidden, hidden, hidden}, biased, execution),
                      .out = Linear::read(layer, "self_attn.out_proj", hidden, hidden, biased, execution),
                      .shape = plain_attention(sizes)},
        .attention_norms = {.input = norm(layer, "self_attn_layer_norm")},
        .feed_forward = plain_network(layer, "fc1", "fc2", sizes, biased, execution),
        .feed_forward_norms = {.input = norm(layer, "final_layer_norm")}}));
  }
  return transformer;
}

}  // namespace predictor
