// The encoder of T5 (Raffel et al. 2019, arXiv:1910.10683): norms before each part, scores that are not scaled, and a
// bias by distance, the same in all layers.
#include "architectures/architectures.h"
#include "architectures/bert_layer.h"
#include "architectures/relative_bias.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

struct Sizes {
  int64_t hidden;
  int64_t heads;
  int64_t head_size;
  int64_t intermediate;
  double epsilon;
  Activation activation;
  bool gated;
};

Sizes t5_sizes(const Config& config) {
  std::string projection = config.text("feed_forward_proj", "relu");
  const bool gated = projection.starts_with("gated-");
  if (gated) projection = projection.substr(6);
  if (gated && projection == "gelu") projection = "gelu_new";  // as the library reads it
  config.ignore({"dense_act_fn", "is_gated_act"});             // which repeat it
  return {.hidden = config.size("d_model"),
          .heads = config.size("num_heads"),
          .head_size = config.size("d_kv"),
          .intermediate = config.size("d_ff"),
          .epsilon = config.number("layer_norm_epsilon", 1e-6),
          .activation = activation_named(projection, "config.json: feed_forward_proj"),
          .gated = gated};
}

FeedForward t5_feed_forward(const WeightReader& weights, const Sizes& sizes, const Execution& execution) {
  const int64_t inner = sizes.intermediate;
  return {.up = sizes.gated ? Linear::read(weights, {"wi_0", "wi_1"}, sizes.hidden, {inner, inner}, false, execution)
                            : Linear::read(weights, "wi", sizes.hidden, inner, false, execution),
          .activation = sizes.activation,
          .gated = sizes.gated,
          .down = Linear::read(weights, "wo", inner, sizes.hidden, false, execution)};
}

}  // namespace

TextTransformer make_t5_encoder(const Config& config, const WeightReader& weights, const Execution& execution) {
  const Sizes sizes = t5_sizes(config);
  const int64_t width = sizes.heads * sizes.head_size;
  const int64_t buckets = config.size("relative_attention_num_buckets", 32);
  const int64_t max_distance = config.size("relative_attention_max_distance", 128);
  config.expect("is_decoder", false);
  config.ignore({"num_decoder_layers", "n_positions", "scale_decoder_outputs"});  // of the decoder, or of training
  const bool is_tied = weights.has("shared.weight");
  const WeightReader encoder = weights.below_one_of({"encoder", ""}, "final_layer_norm.weight");
  TextTransformer transformer{
      .embeddings = {.words = Embedding(is_tied ? weights : encoder, is_tied ? "shared.weight" : "embed_tokens.weight",
                                        config.size("vocab_size"), sizes.hidden)},
      .layers = {},
      .final_norm = Norm(encoder, "final_layer_norm", sizes.hidden, sizes.epsilon, execution, NormKind::rms),
      .hidden_size = sizes.hidden};
  const at::Tensor table =
      encoder["block.0.layer.0.SelfAttention"].floats("relative_attention_bias.weight", {buckets, sizes.heads});
  const auto bias = std::make_shared<DistanceAttentionBias>(bucketed_bias(table, max_distance));
  const int64_t layers = config.size("num_layers");
  for (int64_t i = 0; i < layers; ++i) {
    const WeightReader attention = encoder["block"][i]["layer.0"];
    const WeightReader network = encoder["block"][i]["layer.1"];
    transformer.layers.push_back(std::make_shared<TransformerLayer>(TransformerLayer{
        .attention = {.qkv = Linear::read(attention["SelfAttention"], {"q", "k", "v"}, sizes.hidden,
                                          {width, width, width}, false, execution),
                      .out = Linear::read(attention["SelfAttention"], "o", width, sizes.hidden, false, execution),
                      .shape = {.heads = static_cast<size_t>(sizes.heads),
                                .kv_heads = static_cast<size_t>(sizes.heads),
                                .head_size = static_cast<size_t>(sizes.head_size),
                                .scale = 1},
                      .bias = bias},
        .attention_norms = {.input =
                                Norm(attention, "layer_norm", sizes.hidden, sizes.epsilon, execution, NormKind::rms)},
        .feed_forward = t5_feed_forward(network["DenseReluDense"], sizes, execution),
        .feed_forward_norms = {
            .input = Norm(network, "layer_norm", sizes.hidden, sizes.epsilon, execution, NormKind::rms)}}));
  }
  return transformer;
}

}  // namespace predictor
