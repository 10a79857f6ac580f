// What BERT and its kin have in common: sizes in config.json, embeddings, and a layer that is normalised after each
// sum.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "architectures/text_transformer.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

struct BertSizes {
  int64_t layers;
  int64_t heads;
  int64_t hidden;
  int64_t intermediate;
  int64_t vocabulary;
  int64_t positions;
  int64_t types;
  double epsilon;
  Activation activation;
};

// By the names that BERT's config.json has; `activation` where it names none. Throws ModelError.
BertSizes bert_sizes(const Config& config, const std::string& activation = "gelu");

// word_embeddings, position_embeddings, token_type_embeddings and LayerNorm, of `size` numbers (0: sizes.hidden).
TokenEmbeddings bert_embeddings(const WeightReader& weights, const BertSizes& sizes, const Execution& execution,
                                int64_t size = 0, bool has_positions = true);

// attention.self.{query,key,value}, attention.output, intermediate, output.
std::shared_ptr<TransformerLayer> bert_layer(const WeightReader& weights, const BertSizes& sizes,
                                             std::initializer_list<std::string> qkv, const Execution& execution);
// All of them, numbered from 0.
std::vector<std::shared_ptr<const TransformerLayer>> bert_layers(const WeightReader& weights, const BertSizes& sizes,
                                                                 const Execution& execution);

// What a layer with rotary positions in the place of BERT's has.
struct RotaryLayerOptions {
  bool gated = false;
  bool qkv_bias = false;
  bool out_bias = false;
  bool up_bias = false;
  bool down_bias = false;
};

// Layer `number` of `model`, under the names that the model's makers gave its weights, or those of transformers.
std::shared_ptr<const TransformerLayer> rotary_layer(const WeightReader& model, int64_t number, const BertSizes& sizes,
                                                     const std::shared_ptr<const Rotary>& rotary,
                                                     const RotaryLayerOptions& options, const Execution& execution);

// RoBERTa's way of counting positions: the first is the padding token's id plus 1.
void count_behind_padding(int64_t padding, const BertSizes& sizes, TextTransformer& transformer);

// RoBERTa's: classifier.dense, tanh, classifier.out_proj.
ClassHead dense_tanh_classifier();

// As many heads as there are keys, each of size / heads numbers. Throws ModelError where that is no whole number.
kernels::AttentionShape plain_attention(int64_t size, int64_t heads);

}  // namespace predictor
