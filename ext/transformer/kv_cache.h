// The keys and values of many sequences, in pages of kernels::kPageTokens tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/paged_attention.h"
#include "transformer/execution.h"
#include "transformer/sequence_chunk.h"

namespace predictor {

class KvCache {
 public:
  // Zeros, which take no memory before they are written to. `layers`: each layer's shape. In the model's precision:
  // float32, or bfloat16 for all others.
  KvCache(std::span<const kernels::AttentionShape> layers, uint32_t pages, const Execution& execution);

  // Of one page, in all layers.
  static size_t page_bytes(std::span<const kernels::AttentionShape> layers, Precision precision);

  bool is_of_floats() const { return layers_.empty() || layers_[0].scalar_type() == at::kFloat; }
  uint32_t pages() const { return pages_; }
  // [pages, numbers of a page]
  const at::Tensor& of_layer(size_t layer) const { return layers_[layer]; }

 private:
  const uint32_t pages_;
  std::vector<at::Tensor> layers_;
};

// A step's chunks in one layer.
struct CachedBatch {
  std::span<const SequenceChunk> chunks;  // in the order of the rows
  const KvCache& cache;
  size_t layer;
};

}  // namespace predictor
