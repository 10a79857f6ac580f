// A layer of a transformer: attention and a network, each added to what came in.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "transformer/attention.h"
#include "transformer/feed_forward.h"
#include "transformer/norm.h"

namespace predictor {

// Where a part of a layer is normalised: BERT's kind after the sum, newer ones its input, Gemma its output as well.
struct PartNorms {
  std::optional<Norm> input = std::nullopt;
  std::optional<Norm> output = std::nullopt;
  std::optional<Norm> sum = std::nullopt;
};

struct TransformerLayer {
  Attention attention;
  PartNorms attention_norms;
  FeedForward feed_forward;
  PartNorms feed_forward_norms;
  bool parallel = false;  // both parts take what came in, as in GPT-J

  // x [tokens, hidden_size]; of whole texts, or of sequences whose keys and values are kept.
  void apply(at::Tensor& x, const TextBatch& batch) const { apply_to(x, batch); }
  void apply(at::Tensor& x, const CachedBatch& batch) const { apply_to(x, batch); }

 private:
  template <typename Batch>
  void apply_to(at::Tensor& x, const Batch& batch) const;
};

}  // namespace predictor
