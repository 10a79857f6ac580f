// DeBERTa version 2 and 3 (He et al. 2020, arXiv:2006.03654; 2021, arXiv:2111.09543): scores also of contents with
// positions, by distance ("disentangled" attention).
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/ceil.h>
#include <ATen/ops/conv1d.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "architectures/architectures.h"
#include "architectures/bert_layer.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

struct Positions {
  int64_t span;     // distances are -span to span - 1
  int64_t buckets;  // 0: each distance its own
  int64_t max_distance;
  bool of_queries;  // c2p
  bool of_keys;     // p2c
  bool shared;      // projected by the contents' matrices
};

// Distance of query and key -> place among the positions, for distances of -(length - 1) to length - 1.
std::vector<int32_t> places(const Positions& positions, int64_t length) {
  at::Tensor distance = at::arange(-(length - 1), length, at::kLong);
  if (positions.buckets > 0) {
    // in the types of the libraries: a bucket's edge must not move
    const int64_t mid = positions.buckets / 2;
    const at::Tensor is_near = distance.lt(mid).logical_and(distance.gt(-mid));
    const at::Tensor far = at::where(is_near, at::full_like(distance, mid - 1), distance.abs());
    const at::Tensor scale = at::log(
        at::scalar_tensor(static_cast<double>(positions.max_distance - 1) / static_cast<double>(mid), at::kFloat));
    const at::Tensor logarithm =
        at::ceil(at::log(far.to(at::kFloat) / static_cast<double>(mid)) / scale * static_cast<double>(mid - 1)) +
        static_cast<double>(mid);
    distance = at::where(far <= mid, distance.to(at::kFloat), logarithm * distance.sign()).to(at::kLong);
  }
  const at::Tensor place = (distance + positions.span).clamp(0, 2 * positions.span - 1).to(at::kInt);
  const int32_t* const begin = place.const_data_ptr<int32_t>();
  return {begin, begin + place.numel()};
}

class DisentangledBias : public kernels::ScoreBias {
 public:
  DisentangledBias(at::Tensor by_query, at::Tensor by_key, std::vector<int32_t> places, int64_t length)
      : by_query_(std::move(by_query)), by_key_(std::move(by_key)), places_(std::move(places)), length_(length) {}

  void add(size_t head, size_t first_query, size_t queries, size_t keys_begin, size_t keys_end, size_t stride,
           float* scores) const override {
    const auto row = [this, head](const at::Tensor& products, size_t token) {
      return products.const_data_ptr<float>() +
             (static_cast<int64_t>(head) * length_ + static_cast<int64_t>(token)) * products.size(2);
    };
    for (size_t key = keys_begin; key < keys_end; ++key, scores += stride) {
      // places_ begins with the distance -(length - 1)
      const int32_t* const place =
          places_.data() + (length_ - 1) + static_cast<int64_t>(first_query) - static_cast<int64_t>(key);
      if (by_key_.defined()) {
        const float* const products = row(by_key_, key);
        for (size_t i = 0; i < queries; ++i) scores[i] += products[place[i]];
      }
      if (by_query_.defined()) {
        for (size_t i = 0; i < queries; ++i) scores[i] += row(by_query_, first_query + i)[place[i]];
      }
    }
  }

 private:
  const at::Tensor by_query_;  // [heads, length, 2 * span], scaled; undefined: none
  const at::Tensor by_key_;
  const std::vector<int32_t> places_;
  const int64_t length_;
};

class DisentangledAttention : public AttentionBias {
 public:
  // `keys`, `queries`: of the positions, float32 [heads, head_size, 2 * span], scaled; undefined: none.
  DisentangledAttention(const Positions& positions, at::Tensor keys, at::Tensor queries)
      : positions_(positions), keys_(std::move(keys)), queries_(std::move(queries)) {}

  std::shared_ptr<const kernels::ScoreBias> of_text(const float* qkv, int64_t length) const override {
    const at::Tensor& any = keys_.defined() ? keys_ : queries_;
    const int64_t heads = any.size(0);
    const int64_t head_size = any.size(1);
    const auto products = [&](int64_t part, const at::Tensor& with) {
      if (!with.defined()) return at::Tensor();
      const at::Tensor contents =
          at::from_blob(const_cast<float*>(qkv) + part * heads * head_size, {heads, length, head_size},
                        {head_size, 3 * heads * head_size, 1}, at::kFloat);
      return at::bmm(contents, with);
    };
    return std::make_shared<DisentangledBias>(products(0, keys_), products(1, queries_), places(positions_, length),
                                              length);
  }

  at::Tensor matrix(int64_t) const override { throw ModelError("DeBERTa is served on the processor only"); }

 private:
  const Positions positions_;
  const at::Tensor keys_;
  const at::Tensor queries_;
};

Positions positions_of(const Config& config, int64_t context) {
  const int64_t most = config.whole("max_relative_positions", -1);
  const int64_t buckets = config.whole("position_buckets", -1);
  const int64_t max_distance = most < 1 ? context : most;
  std::string types;
  if (config.has("pos_att_type")) {
    if (config.is_text("pos_att_type")) {
      types = config.text("pos_att_type");
    } else {
      for (const std::string& type : config.texts("pos_att_type")) types += type + "|";
    }
  }
  return {.span = buckets > 0 ? buckets : max_distance,
          .buckets = buckets > 0 ? buckets : 0,
          .max_distance = max_distance,
          .of_queries = types.find("c2p") != std::string::npos,
          .of_keys = types.find("p2c") != std::string::npos,
          .shared = config.flag("share_att_key", false)};
}

// The positions' keys or queries in one layer: `embeddings` [2 * span, hidden] times NAME, by heads, transposed,
// scaled.
at::Tensor projected(const WeightReader& attention, const std::string& name, const at::Tensor& embeddings,
                     const BertSizes& sizes, double scale, const Execution& execution) {
  const int64_t hidden = sizes.hidden;
  const auto linear = Linear::read(attention, name, hidden, hidden, true, on_processor(execution));
  const at::Tensor rows = linear->apply(embeddings) * scale;
  return rows.view({rows.size(0), sizes.heads, hidden / sizes.heads}).permute({1, 2, 0}).contiguous();
}

std::shared_ptr<const TransformerLayer> deberta_layer(const WeightReader& weights, const BertSizes& sizes,
                                                      const Positions& positions, const at::Tensor& embeddings,
                                                      const Execution& execution) {
  const WeightReader attention = weights["attention.self"];
  auto layer = bert_layer(weights, sizes, {"query_proj", "key_proj", "value_proj"}, execution);
  const double parts = 1 + (positions.of_queries ? 1 : 0) + (positions.of_keys ? 1 : 0);
  const double scale = 1 / std::sqrt(static_cast<double>(sizes.hidden / sizes.heads) * parts);
  layer->attention.shape.scale = static_cast<float>(scale);  // also without relative attention, as transformers does
  if (!embeddings.defined()) return layer;
  const auto project = [&](const char* own, const char* shared) {
    return projected(attention, positions.shared ? shared : own, embeddings, sizes, scale, execution);
  };
  const at::Tensor keys = positions.of_queries ? project("pos_key_proj", "key_proj") : at::Tensor();
  const at::Tensor queries = positions.of_keys ? project("pos_query_proj", "query_proj") : at::Tensor();
  if (keys.defined() || queries.defined()) {
    layer->attention.bias = std::make_shared<DisentangledAttention>(positions, keys, queries);
  }
  return layer;
}

// Version 2's: of the embeddings over each text, added to the first layer's output.
std::function<void(const at::Tensor&, at::Tensor&, const TextBatch&)> convolution(const Config& config,
                                                                                  const WeightReader& weights,
                                                                                  const BertSizes& sizes,
                                                                                  const Execution& execution) {
  const int64_t width = config.size("conv_kernel_size");
  const int64_t groups = config.size("conv_groups", 1);
  const int64_t hidden = sizes.hidden;
  if (hidden % groups != 0) config.refuse("conv_groups", "it must divide hidden_size");
  const Activation activation = activation_named(config.text("conv_act", "tanh"), "config.json: conv_act");
  const at::Tensor weight = weights.floats("conv.weight", {hidden, hidden / groups, width}).clone();
  const at::Tensor bias = weights.floats("conv.bias", {hidden}).clone();
  const Norm norm(weights, "LayerNorm", hidden, sizes.epsilon, execution);
  return [=](const at::Tensor& embedded, at::Tensor& x, const TextBatch& batch) {
    int64_t begin = 0;
    for (const int64_t length : batch.lengths) {
      const at::Tensor text = embedded.narrow(0, begin, length).t().unsqueeze(0);
      at::Tensor more = at::conv1d(text, weight, bias, 1, (width - 1) / 2, 1, groups)[0].t().contiguous();
      activate(activation, more);
      x.narrow(0, begin, length) += more;
      begin += length;
    }
    norm.apply(x);
  };
}

}  // namespace

TextTransformer make_deberta_v2(const Config& config, const WeightReader& weights, const Execution& execution) {
  if (!execution.device.is_processor()) throw ModelError("DeBERTa is served on the processor only (setting device)");
  BertSizes sizes = bert_sizes(config);
  sizes.types = config.whole("type_vocab_size", 0);
  const int64_t size = config.size("embedding_size", sizes.hidden);
  const bool has_positions = config.flag("position_biased_input", true);
  if (config.has("attention_head_size") && config.size("attention_head_size") != sizes.hidden / sizes.heads) {
    config.refuse("attention_head_size", "only hidden_size / num_attention_heads is served");
  }
  const bool is_relative = config.flag("relative_attention", false);
  const Positions positions = positions_of(config, sizes.positions);
  const WeightReader deberta = weights.below_one_of({"", "deberta"}, "embeddings.word_embeddings.weight");
  TextTransformer transformer{
      .embeddings = bert_embeddings(deberta["embeddings"], sizes, execution, size, has_positions),
      .layers = {},
      .hidden_size = sizes.hidden,
      .max_positions = has_positions ? sizes.positions : 0};
  if (size != sizes.hidden) {  // the norm comes behind the projection
    transformer.embeddings.projection =
        Linear::read(deberta["embeddings"], "embed_proj", size, sizes.hidden, false, execution);
    transformer.embeddings.projected_norm =
        Norm(deberta["embeddings"], "LayerNorm", sizes.hidden, sizes.epsilon, execution);
    transformer.embeddings.norm = std::nullopt;
  }
  at::Tensor embeddings;
  const std::string norm = config.text("norm_rel_ebd", "none");
  if (is_relative) {
    embeddings = deberta["encoder"].floats("rel_embeddings.weight", {2 * positions.span, sizes.hidden}).clone();
    if (norm.find("layer_norm") != std::string::npos) {
      Norm(deberta["encoder"], "LayerNorm", sizes.hidden, sizes.epsilon, execution).apply(embeddings);
    }
  }
  for (int64_t i = 0; i < sizes.layers; ++i) {
    transformer.layers.push_back(deberta_layer(deberta["encoder.layer"][i], sizes, positions, embeddings, execution));
  }
  if (config.whole("conv_kernel_size", 0) > 0) {
    transformer.after_first_layer = convolution(config, deberta["encoder.conv"], sizes, execution);
  } else {
    config.ignore({"conv_act", "conv_groups"});
  }
  const std::string pooler = config.text("pooler_hidden_act", "gelu");
  transformer.text_classes = ClassHead{
      .layers = {{.dense = "pooler.dense", .activation = activation_named(pooler, "config.json: pooler_hidden_act")}},
      .out = "classifier"};
  transformer.token_classes = ClassHead{.layers = {}, .out = "classifier"};
  if (config.flag("legacy", true)) {  // or else another head
    transformer.vocabulary_head = VocabularyHead{.layer = {.dense = "cls.predictions.transform.dense",
                                                           .activation = sizes.activation,
                                                           .norm = "cls.predictions.transform.LayerNorm",
                                                           .epsilon = sizes.epsilon},
                                                 .size = size,
                                                 .decoder = "cls.predictions.decoder.weight",
                                                 .bias = "cls.predictions.bias"};
  }
  return transformer;
}

}  // namespace predictor
