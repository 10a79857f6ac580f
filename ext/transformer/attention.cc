#include "transformer/attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace predictor {

namespace {

// Which keys a query may not see, as -inf to be added: [length, length].
at::Tensor mask_of(const kernels::AttentionShape& shape, int64_t length, const at::TensorOptions& options) {
  const at::Tensor places = at::arange(length, options.dtype(at::kLong));
  const at::Tensor distance = places.unsqueeze(0) - places.unsqueeze(1);  // key minus query
  at::Tensor hidden = at::zeros({length, length}, options.dtype(at::kBool));
  if (shape.causal) hidden = hidden.logical_or(distance > 0);
  if (shape.window > 0) hidden = hidden.logical_or(distance.abs() > static_cast<int64_t>(shape.window));
  return at::zeros({length, length}, options).masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

}  // namespace

DistanceAttentionBias::DistanceAttentionBias(const at::Tensor& table)
    : table_(table.contiguous()),
      bias_(std::make_shared<kernels::DistanceBias>(
          std::span(table_.const_data_ptr<float>(), static_cast<size_t>(table_.numel())),
          static_cast<size_t>(table.size(0)), static_cast<size_t>(table.size(1) / 2))) {}

at::Tensor DistanceAttentionBias::matrix(int64_t length) const {
  const int64_t most = table_.size(1) / 2;
  const at::Tensor places = at::arange(length, at::kLong);
  const at::Tensor distance = (places.unsqueeze(0) - places.unsqueeze(1)).clamp(-most, most) + most;
  return table_.index_select(1, distance.flatten()).view({table_.size(0), length, length});
}

void Attention::prepare(float* qkv, int64_t length) const {
  const auto heads = static_cast<int64_t>(shape.heads);
  const auto kv_heads = static_cast<int64_t>(shape.kv_heads);
  const auto head_size = static_cast<int64_t>(shape.head_size);
  const int64_t row = (heads + 2 * kv_heads) * head_size;
  for (int64_t token = 0; token < length; ++token, qkv += row) {
    float* const keys = qkv + heads * head_size;
    if (query_norm) query_norm->apply(qkv, static_cast<size_t>(heads * head_size), qkv);
    if (key_norm) key_norm->apply(keys, static_cast<size_t>(kv_heads * head_size), keys);
    if (rotary) rotary->apply(token, heads + kv_heads, head_size, qkv);  // keys follow the queries
  }
}

at::Tensor Attention::apply(const at::Tensor& x, const TextBatch& batch) const {
  const at::Tensor projected = qkv->apply(x);
  if (!x.is_cpu()) return out->apply(by_operators(projected, batch));
  const int64_t row = projected.size(1);
  const auto width = static_cast<int64_t>(shape.heads * shape.head_size);
  const at::Tensor mixed = at::empty({projected.size(0), width}, at::kFloat);
  float* const from = projected.mutable_data_ptr<float>();
  float* const to = mixed.mutable_data_ptr<float>();
  std::vector<int64_t> begins;
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {
    begins.push_back(begin);
    begin += length;
  }
  at::parallel_for(0, static_cast<int64_t>(begins.size()), 1, [&](int64_t first, int64_t end) {
    kernels::TextAttention attention(shape);
    for (int64_t text = first; text < end; ++text) {
      const auto i = static_cast<size_t>(text);
      float* const rows = from + begins[i] * row;
      if (query_norm || key_norm || rotary) prepare(rows, batch.lengths[i]);
      const auto added = bias ? bias->of_text(rows, batch.lengths[i]) : nullptr;
      attention.attend(rows, static_cast<size_t>(batch.lengths[i]), to + begins[i] * width, added.get());
    }
  });
  return out->apply(mixed);
}

// Each run of texts of equal length at once.
at::Tensor Attention::by_operators(const at::Tensor& projected, const TextBatch& batch) const {
  const auto heads = static_cast<int64_t>(shape.heads);
  const auto kv_heads = static_cast<int64_t>(shape.kv_heads);
  const auto head_size = static_cast<int64_t>(shape.head_size);
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < batch.lengths.size();) {
    const int64_t length = batch.lengths[i];
    int64_t texts = 0;
    for (; i < batch.lengths.size() && batch.lengths[i] == length; ++i) ++texts;
    const at::Tensor tokens =
        projected.narrow(0, begin, texts * length).view({texts * length, heads + 2 * kv_heads, head_size});
    at::Tensor queries = tokens.narrow(1, 0, heads);
    at::Tensor keys = tokens.narrow(1, heads, kv_heads);
    if (query_norm) queries = query_norm->applied(queries.contiguous());
    if (key_norm) keys = key_norm->applied(keys.contiguous());
    if (rotary) {
      const at::Tensor positions = at::arange(length, tokens.options().dtype(at::kLong)).repeat({texts});
      queries = rotary->applied(queries, positions);
      keys = rotary->applied(keys, positions);
    }
    const auto by_head = [&](const at::Tensor& part) {
      return part.reshape({texts, length, part.size(1), head_size}).transpose(1, 2);
    };
    at::Tensor mask;
    if (bias) mask = bias->matrix(length).to(projected.options()).unsqueeze(0);
    if (shape.causal || shape.window > 0) {
      const at::Tensor hidden = mask_of(shape, length, projected.options());
      mask = mask.defined() ? mask + hidden : hidden;
    }
    const at::Tensor values = tokens.narrow(1, heads + kv_heads, kv_heads);
    const at::Tensor attended = at::scaled_dot_product_attention(
        by_head(queries), by_head(keys), by_head(values), mask.defined() ? std::optional(mask) : std::nullopt, 0.0,
        false, static_cast<double>(shape.scale), heads != kv_heads);
    parts.push_back(attended.transpose(1, 2).reshape({texts * length, heads * head_size}));
    begin += texts * length;
  }
  return at::cat(parts);
}

}  // namespace predictor
