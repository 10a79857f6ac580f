#include "transformer/kv_cache.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <sys/mman.h>

#include <algorithm>

#include "transformer/loops.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

at::ScalarType type_for(Precision precision) {
  return precision == Precision::float32 ? at::kFloat : at::kBFloat16;
}

// On the processor. What the system gives is zero and takes memory only where it is written to: libtorch's own zeros
// would write to all of it at once, and so would calloc where it finds freed memory. In large pages if there are any:
// of small ones a chunk of a prompt needs hundreds, and to be given one takes microseconds.
at::Tensor untouched_zeros(int64_t numbers, const at::TensorOptions& options) {
  const size_t bytes = static_cast<size_t>(numbers) * options.dtype().itemsize();
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw ModelError("there is no memory for the cache of keys and values (setting cache_bytes)");
  }
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return at::from_blob(memory, {numbers}, [bytes](void* given) { munmap(given, bytes); }, options);
}

constexpr auto kPageTokens = static_cast<int64_t>(kernels::kPageTokens);

// Of all tokens of the chunk's sequence up to the chunk's last.
std::vector<int64_t> places_of(const SequenceChunk& chunk) {
  std::vector<int64_t> places;
  for (size_t i = 0; i < chunk.first + chunk.tokens.size(); ++i) {
    const auto slot = static_cast<int64_t>(i % kernels::kPageTokens);
    places.push_back(chunk.pages[i / kernels::kPageTokens] * kPageTokens + slot);
  }
  return places;
}

at::Tensor staged(const std::vector<int64_t>& numbers, const Device& device) {
  at::Tensor tensor = device.staging({static_cast<int64_t>(numbers.size())}, at::kLong);
  std::copy(numbers.begin(), numbers.end(), tensor.mutable_data_ptr<int64_t>());
  return device.bring(tensor);
}

}  // namespace

at::Tensor indices(std::span<const uint32_t> numbers) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(numbers.size())}, at::kLong);
  std::copy(numbers.begin(), numbers.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor;
}

StepPlaces::StepPlaces(std::span<const SequenceChunk> chunks, const Device& device) {
  std::vector<int64_t> row_places;
  std::vector<int64_t> row_positions;
  std::vector<int64_t> decoding_rows;
  std::vector<std::vector<int64_t>> keys;
  size_t longest = 0;
  for (const SequenceChunk& chunk : chunks) {
    const auto row = static_cast<int64_t>(row_places.size());
    std::vector<int64_t> all = places_of(chunk);
    for (size_t i = chunk.first; i < all.size(); ++i) {
      row_places.push_back(all[i]);
      row_positions.push_back(static_cast<int64_t>(i));
    }
    if (chunk.tokens.size() > 1) {
      chunk_keys.emplace_back(row, staged(all, device));
      continue;
    }
    decoding_rows.push_back(row);
    longest = std::max(longest, all.size());
    keys.push_back(std::move(all));
  }
  std::vector<int64_t> filled;
  for (const std::vector<int64_t>& of_sequence : keys) {
    filled.insert(filled.end(), of_sequence.begin(), of_sequence.end());
    filled.insert(filled.end(), longest - of_sequence.size(), of_sequence[0]);
  }
  places = staged(row_places, device);
  positions = staged(row_positions, device);
  decoding = staged(decoding_rows, device);
  decoding_keys = staged(filled, device).view({static_cast<int64_t>(keys.size()), static_cast<int64_t>(longest)});
}

KvCache::KvCache(std::span<const kernels::AttentionShape> layers, uint32_t pages, const Execution& execution)
    : pages_(pages) {
  const auto options = at::TensorOptions(execution.device.place()).dtype(type_for(execution.precision));
  if (!by_loops(execution.device)) {
    for (const kernels::AttentionShape& shape : layers) {
      layers_.push_back(at::zeros(
          {pages * kPageTokens, 2, static_cast<int64_t>(shape.kv_heads), static_cast<int64_t>(shape.head_size)},
          options));
    }
    return;
  }
  int64_t page = 0;
  for (const kernels::AttentionShape& shape : layers) page += static_cast<int64_t>(kernels::page_numbers(shape));
  const at::Tensor all = untouched_zeros(pages * page, options).view({pages, page});
  int64_t begin = 0;
  for (const kernels::AttentionShape& shape : layers) {
    const auto size = static_cast<int64_t>(kernels::page_numbers(shape));
    layers_.push_back(all.narrow(1, begin, size));
    begin += size;
  }
}

size_t KvCache::page_bytes(std::span<const kernels::AttentionShape> layers, Precision precision) {
  size_t bytes = 0;
  for (const kernels::AttentionShape& shape : layers) {
    bytes += kernels::page_numbers(shape) * c10::elementSize(type_for(precision));
  }
  return bytes;
}

}  // namespace predictor
