// Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762): of whole texts to themselves, each text on its own, or
// of a sequence's newest tokens to all before them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/attention.h"
#include "kernels/distance_bias.h"
#include "transformer/kv_cache.h"
#include "transformer/linear.h"
#include "transformer/norm.h"
#include "transformer/rotary.h"
#include "transformer/text_batch.h"

namespace predictor {

// What is added to the scores of a text.
class AttentionBias {
 public:
  virtual ~AttentionBias() = default;

  // For the scores of one text. `qkv`: its tokens' rows of queries, keys and values.
  virtual std::shared_ptr<const kernels::ScoreBias> of_text(const float* qkv, int64_t length) const = 0;

  // The same as a matrix, [heads, length, length] on the processor.
  virtual at::Tensor matrix(int64_t length) const = 0;
};

// One for all texts: it depends on the distance alone.
class DistanceAttentionBias : public AttentionBias {
 public:
  // `table`: float32 [heads, 2 * max_distance + 1], by key minus query plus max_distance.
  explicit DistanceAttentionBias(const at::Tensor& table);

  std::shared_ptr<const kernels::ScoreBias> of_text(const float*, int64_t) const override { return bias_; }
  at::Tensor matrix(int64_t length) const override;

 private:
  at::Tensor table_;
  std::shared_ptr<const kernels::ScoreBias> bias_;
};

struct Attention {
  std::unique_ptr<Linear> qkv;  // of a token: heads * head_size queries, kv_heads * head_size keys, as many values
  std::unique_ptr<Linear> out;
  kernels::AttentionShape shape;
  std::optional<Norm> query_norm = std::nullopt;  // of each head
  std::optional<Norm> key_norm = std::nullopt;
  std::shared_ptr<const Rotary> rotary = nullptr;
  std::shared_ptr<const AttentionBias> bias = nullptr;  // of whole texts
  std::vector<float> slopes = {};                       // of sequences: ALiBi's (kernels/paged_attention.h), or none

  // [tokens, hidden_size] -> the same
  at::Tensor apply(const at::Tensor& x, const TextBatch& batch) const;
  // The same for tokens of sequences, whose keys and values the cache keeps.
  at::Tensor apply(const at::Tensor& x, const CachedBatch& batch) const;

 private:
  void prepare(float* qkv, int64_t position) const;
  template <typename Number>
  void attend_cached(const at::Tensor& projected, const CachedBatch& batch, const at::Tensor& mixed) const;
  struct Parts;  // queries, keys and values
  Parts split(const at::Tensor& projected, const at::Tensor& positions) const;
  at::Tensor attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                    const at::Tensor& mask) const;
  at::Tensor by_operators(const at::Tensor& projected, const TextBatch& batch) const;
  at::Tensor by_operators(const at::Tensor& projected, const CachedBatch& batch) const;
  at::Tensor mask_at(const at::Tensor& positions, int64_t keys, const at::TensorOptions& options) const;
};

}  // namespace predictor
