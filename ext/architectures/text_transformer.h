// A transformer, put together by the file of its architecture: for whole texts, or step by step for sequences that
// grow.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "transformer/activation.h"
#include "transformer/embedding.h"
#include "transformer/kv_cache.h"
#include "transformer/norm.h"
#include "transformer/text_batch.h"
#include "transformer/transformer_layer.h"

namespace predictor {

// What the layers get for each token.
struct TokenEmbeddings {
  Embedding words;
  std::optional<Embedding> positions = std::nullopt;
  // The first token's position. RoBERTa's kin count from behind the padding token's id, which `padding` is then: where
  // a text has that token, it is not counted.
  int64_t first_position = 0;
  std::optional<int64_t> padding = std::nullopt;
  std::optional<Embedding> types = std::nullopt;  // of the first and the second text of a pair
  float scale = 1;                                // of the words
  std::optional<Norm> norm = std::nullopt;
  std::unique_ptr<Linear> projection = nullptr;  // to the layers' size, where that is another
  std::optional<Norm> projected_norm = std::nullopt;

  // float32 [tokens, size], on the processor
  at::Tensor apply(const TextBatch& batch) const;
  at::Tensor apply(std::span<const SequenceChunk> chunks) const;
};

// A product, an activation and a norm, each where it is named, in a head.
struct HeadLayer {
  std::string dense;
  bool biased = true;
  Activation activation = Activation::identity;
  std::string norm = "";
  double epsilon = 1e-12;
  NormKind norm_kind = NormKind::layer;
};

// How classes are found: by a name among the weights of the whole folder.
struct ClassHead {
  enum class Input { first, mean, last };  // of a text's tokens
  Input input = Input::first;
  // Where the last is asked for: the token that does not count, though it may be the text's own last. A text of nothing
  // else gives its first.
  std::optional<int64_t> padding = std::nullopt;
  std::vector<HeadLayer> layers;
  std::string out;
  bool biased = true;
};

// How the likeliest tokens at a place are found (masked language models).
struct VocabularyHead {
  HeadLayer layer;
  int64_t size;         // of what the last product takes
  std::string decoder;  // where the folder has none, the words' embeddings
  std::string bias;     // "" where there is none
};

// How the next token's logits are found.
struct LanguageHead {
  std::string weight = "lm_head";  // among the weights of the whole folder
  bool tied;                       // the words' embeddings instead
  bool biased = false;
  float scale = 1;     // of the logits
  float soft_cap = 0;  // then they become soft_cap * tanh(logit / soft_cap); 0: they stay
};

struct TextTransformer {
  TokenEmbeddings embeddings;
  std::vector<std::shared_ptr<const TransformerLayer>> layers;  // the same several times, where weights are shared
  // What changes the first layer's output by the embeddings, [tokens, hidden_size] both (DeBERTa's convolution).
  std::function<void(const at::Tensor& embedded, at::Tensor& x, const TextBatch& batch)> after_first_layer = nullptr;
  std::optional<Norm> final_norm = std::nullopt;
  int64_t hidden_size;
  int64_t max_positions = 0;  // 0: no limit
  std::optional<ClassHead> text_classes = std::nullopt;
  std::optional<ClassHead> token_classes = std::nullopt;
  std::optional<VocabularyHead> vocabulary_head = std::nullopt;
  std::optional<LanguageHead> language_head = std::nullopt;

  int64_t vocabulary() const { return embeddings.words.rows(); }

  // float32 [tokens, hidden_size], on the processor
  at::Tensor forward(const TextBatch& batch, const Execution& execution) const;

  // Reads the chunks, whose keys and values `cache` keeps: [rows, hidden_size], after the final norm, of the tokens
  // that `rows` names by index. With no row nothing comes back. On the processor float32, on a card as the layers have
  // it.
  at::Tensor forward(std::span<const SequenceChunk> chunks, std::span<const uint32_t> rows, const KvCache& cache,
                     const Execution& execution) const;

  std::vector<kernels::AttentionShape> attention_shapes() const;

 private:
  at::Tensor to_layers(at::Tensor x, const Execution& execution) const;
  at::Tensor forward_by_operators(at::Tensor x, std::span<const SequenceChunk> chunks, std::span<const uint32_t> rows,
                                  const KvCache& cache, const Execution& execution) const;
};

}  // namespace predictor
