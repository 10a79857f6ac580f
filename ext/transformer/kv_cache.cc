#include "transformer/kv_cache.h"

#include <ATen/ops/zeros.h>

namespace predictor {

namespace {

at::ScalarType type_for(Precision precision) {
  return precision == Precision::float32 ? at::kFloat : at::kBFloat16;
}

}  // namespace

KvCache::KvCache(std::span<const kernels::AttentionShape> layers, uint32_t pages, const Execution& execution)
    : pages_(pages) {
  for (const kernels::AttentionShape& shape : layers) {
    layers_.push_back(at::zeros({pages, static_cast<int64_t>(kernels::page_numbers(shape))},
                                at::TensorOptions(execution.device.place()).dtype(type_for(execution.precision))));
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
