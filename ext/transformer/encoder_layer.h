// A layer of a transformer that reads whole texts: attention and a network, each added to what came in.
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

struct EncoderLayer {
  Attention attention;
  PartNorms attention_norms;
  FeedForward feed_forward;
  PartNorms feed_forward_norms;

  // x [tokens, hidden_size]
  void apply(at::Tensor& x, const TextBatch& batch) const;
};

}  // namespace predictor
