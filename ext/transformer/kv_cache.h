// The keys and values of many sequences, in pages of kernels::kPageTokens tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
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
  // For loops [pages, numbers of a page], where all layers of a page lie one after the other; for operators
  // [places, keys and values, kv_heads, head_size], where a token's place is its page's number times
  // kernels::kPageTokens and more.
  const at::Tensor& of_layer(size_t layer) const { return layers_[layer]; }

 private:
  const uint32_t pages_;
  std::vector<at::Tensor> layers_;
};

// int64, on the processor, to be brought to a card.
at::Tensor indices(std::span<const uint32_t> numbers);

// Where operators find a step's tokens.
struct StepPlaces {
  StepPlaces(std::span<const SequenceChunk> chunks, const Device& device);

  // All int64, on the device.
  at::Tensor places;     // of each row, in the cache
  at::Tensor positions;  // of each row, in its sequence
  // Of the chunks of one token, which are read together: their rows, and the places of all tokens up to theirs, filled
  // up with the first one's; [decoding] and [decoding, longest].
  at::Tensor decoding;
  at::Tensor decoding_keys;
  // Of each other chunk: its first row, and the places of all tokens up to its last.
  std::vector<std::pair<int64_t, at::Tensor>> chunk_keys;
};

// A step's chunks in one layer.
struct CachedBatch {
  std::span<const SequenceChunk> chunks;  // in the order of the rows
  const KvCache& cache;
  size_t layer;
  const StepPlaces* places;  // for operators
};

}  // namespace predictor
