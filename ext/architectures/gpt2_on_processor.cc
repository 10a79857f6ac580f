#include "architectures/gpt2_on_processor.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "kernels/activations.h"
#include "kernels/kv_attention.h"
#include "kernels/norms.h"
#include "kernels/simd.h"

namespace predictor {

Gpt2OnProcessor::Gpt2OnProcessor(const Gpt2Config& config, const Gpt2Weights& weights, Precision precision,
                                 uint32_t slots)
    : Gpt2Model(config),
      slots_(slots),
      is_compiled_(Linear::compiles_shapes(precision)),
      token_embeddings_(weights.token_embeddings()),
      position_embeddings_(weights.position_embeddings()) {
  const auto make_linear = [&](Gpt2Matrix matrix) {
    return Linear::make(precision, std::move(matrix.weight), std::move(matrix.scales), std::move(matrix.bias));
  };
  for (uint32_t i = 0; i < config.layers; ++i) {
    Gpt2Layer layer = weights.layer(i);
    layers_.push_back({std::move(layer.attention_norm), make_linear(std::move(layer.qkv_projection)),
                       make_linear(std::move(layer.output_projection)), std::move(layer.mlp_norm),
                       make_linear(std::move(layer.up_projection)), make_linear(std::move(layer.down_projection))});
  }
  final_norm_ = weights.final_norm();
  Gpt2Matrix lm_head = weights.lm_head();
  if (!lm_head.weight.defined()) lm_head.weight = token_embeddings_.t().contiguous();
  lm_head_ = make_linear(std::move(lm_head));
  const auto row_size = static_cast<int64_t>(kernels::padded_to_vector(config.hidden_size / config.heads));
  cache_ = at::empty({config.layers, 2, slots, config.heads, config.context, row_size}, at::kFloat);
  scratch_.resize(kernels::padded_to_vector(config.context) + static_cast<size_t>(row_size));
  const Layer& layer = layers_[0];
  const auto max_rows = static_cast<int64_t>(rows_of(std::max(slots, 2u)));
  for (const Linear* linear : {layer.qkv_projection.get(), layer.output_projection.get(), layer.up_projection.get(),
                               layer.down_projection.get(), lm_head_.get()}) {
    min_rows_ = std::max(min_rows_, static_cast<uint32_t>(linear->batch_invariant_rows(max_rows)));
  }
  if (is_compiled_) warm_up();
}

std::span<float> Gpt2OnProcessor::forward(std::span<const Row> rows, std::span<const uint32_t> logit_rows) {
  const c10::InferenceMode inference;
  const size_t hidden_size = config().hidden_size;
  at::Tensor x = zeros(rows.size(), hidden_size);
  at::Tensor h = zeros(rows.size(), hidden_size);
  float* const xs = x.mutable_data_ptr<float>();
  float* const hs = h.mutable_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(token_embeddings_.const_data_ptr<float>() + rows[i].token * hidden_size, hidden_size,
                xs + i * hidden_size);
    kernels::add(xs + i * hidden_size, position_embeddings_.const_data_ptr<float>() + rows[i].position * hidden_size,
                 hidden_size);
  }
  const auto add_to_x = [&](const at::Tensor& more) {
    kernels::add(xs, more.const_data_ptr<float>(), rows.size() * hidden_size);
  };
  for (size_t number = 0; number < layers_.size(); ++number) {
    const Layer& layer = layers_[number];
    normalize(layer.attention_norm, xs, rows.size(), hs);
    attend_all(number, rows, layer.qkv_projection->apply(h), hs);
    add_to_x(layer.output_projection->apply(h));
    normalize(layer.mlp_norm, xs, rows.size(), hs);
    at::Tensor intermediate = layer.up_projection->apply(h);
    kernels::gelu_tanh(intermediate.mutable_data_ptr<float>(), rows.size() * config().intermediate_size);
    add_to_x(layer.down_projection->apply(intermediate));
  }
  if (logit_rows.empty()) return {};
  at::Tensor normalized = zeros(logit_rows.size(), hidden_size);
  for (size_t i = 0; i < logit_rows.size(); ++i) {
    normalize(final_norm_, xs + logit_rows[i] * hidden_size, 1, normalized.mutable_data_ptr<float>() + i * hidden_size);
  }
  logits_ = lm_head_->apply(normalized);
  return {logits_.mutable_data_ptr<float>(), logit_rows.size() * config().vocabulary};
}

// As many as a decode step must have, at least. oneDNN compiles a product for every number of rows, half a millisecond
// and half a megabyte each: of more than a usual step has, there are few.
size_t Gpt2OnProcessor::rows_of(size_t rows) const {
  constexpr size_t kEach = 16;
  constexpr size_t kRoundedTo = 8;
  const size_t enough = std::max<size_t>(rows, min_rows_);
  if (!is_compiled_ || enough <= kEach) return enough;
  return (enough + kRoundedTo - 1) / kRoundedTo * kRoundedTo;
}

at::Tensor Gpt2OnProcessor::zeros(size_t rows, size_t columns) const {
  return at::zeros({static_cast<int64_t>(rows_of(rows)), static_cast<int64_t>(columns)}, at::kFloat);
}

// The shapes of all decode steps and prefills: the layers are alike.
void Gpt2OnProcessor::warm_up() const {
  const Layer& layer = layers_[0];
  const size_t max_rows = std::max<size_t>(slots_, std::min(kPrefillChunk, config().context));
  for (size_t rows = rows_of(1); rows <= rows_of(max_rows); rows = rows_of(rows + 1)) {
    const at::Tensor x = zeros(rows, config().hidden_size);
    layer.qkv_projection->apply(x);
    layer.output_projection->apply(x);
    layer.down_projection->apply(layer.up_projection->apply(x));
    if (rows <= rows_of(slots_)) lm_head_->apply(x);
  }
}

void Gpt2OnProcessor::normalize(const Gpt2Norm& norm, const float* x, size_t rows, float* out) const {
  const size_t hidden_size = config().hidden_size;
  for (size_t i = 0; i < rows; ++i) {
    kernels::layer_norm(x + i * hidden_size, norm.weight.const_data_ptr<float>(), norm.bias.const_data_ptr<float>(),
                        config().epsilon, hidden_size, out + i * hidden_size);
  }
}

// Keeps the rows' keys and values; then each row's queries look at what its sequence has by now.
void Gpt2OnProcessor::attend_all(size_t layer, std::span<const Row> rows, const at::Tensor& qkv, float* out) {
  const size_t hidden_size = config().hidden_size;
  const size_t heads = config().heads;
  const size_t head_size = hidden_size / heads;
  const size_t slot_size = heads * config().context * kernels::padded_to_vector(head_size);
  float* const keys = cache_.mutable_data_ptr<float>() + 2 * layer * slots_ * slot_size;
  const auto cache_of = [&](uint32_t slot) {
    return kernels::KvCache{keys + slot * slot_size, keys + (slots_ + slot) * slot_size, config().context};
  };
  const float* const qkv_rows = qkv.const_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* const row = qkv_rows + i * 3 * hidden_size;
    kernels::store_kv(cache_of(rows[i].slot), rows[i].position, heads, head_size, row + hidden_size,
                      row + 2 * hidden_size);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    kernels::attend(cache_of(rows[i].slot), rows[i].position, heads, head_size, qkv_rows + i * 3 * hidden_size,
                    scratch_.data(), out + i * hidden_size);
  }
}

}  // namespace predictor
