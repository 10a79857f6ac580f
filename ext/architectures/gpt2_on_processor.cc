#include "architectures/gpt2_on_processor.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "kernels/rows.h"
#include "kernels/simd.h"

namespace predictor {

Gpt2OnProcessor::Gpt2OnProcessor(const Gpt2Config& config, const Gpt2Weights& weights, Precision precision,
                                 uint32_t slots)
    : Gpt2Model(config),
      slots_(slots),
      is_compiled_(precision == Precision::bfloat16),
      tokens_(weights.tokens()),
      positions_(weights.positions()) {
  const auto linear = [&](Gpt2Matrix matrix) {
    return Linear::make(precision, std::move(matrix.weight), std::move(matrix.scales), std::move(matrix.bias));
  };
  for (uint32_t i = 0; i < config.layers; ++i) {
    Gpt2Layer layer = weights.layer(i);
    layers_.push_back({std::move(layer.before_attention), linear(std::move(layer.queries_keys_values)),
                       linear(std::move(layer.attended)), std::move(layer.before_network),
                       linear(std::move(layer.widen)), linear(std::move(layer.narrow))});
  }
  last_ = weights.last();
  Gpt2Matrix output = weights.output();
  if (!output.weight.defined()) output.weight = tokens_.t().contiguous();
  output_ = linear(std::move(output));
  const auto stride = static_cast<int64_t>(padded_to_lanes(config.width / config.heads));
  cache_ = at::empty({config.layers, 2, slots, config.heads, config.context, stride}, at::kFloat);
  scratch_.resize(padded_to_lanes(config.context) + static_cast<size_t>(stride));
  const Layer& layer = layers_[0];
  const auto most = static_cast<int64_t>(rows_of(std::max(slots, 2u)));
  for (const Linear* product :
       {layer.queries_keys_values.get(), layer.attended.get(), layer.widen.get(), layer.narrow.get(), output_.get()}) {
    least_rows_ = std::max(least_rows_, static_cast<uint32_t>(product->least_rows(most)));
  }
  if (is_compiled_) warm_up();
}

std::span<float> Gpt2OnProcessor::read(std::span<const Row> rows, std::span<const uint32_t> wanted) {
  const c10::InferenceMode inference;
  const size_t width = config().width;
  at::Tensor x = zeros(rows.size(), width);
  at::Tensor h = zeros(rows.size(), width);
  float* const xs = x.mutable_data_ptr<float>();
  float* const hs = h.mutable_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(tokens_.const_data_ptr<float>() + rows[i].token * width, width, xs + i * width);
    add(xs + i * width, positions_.const_data_ptr<float>() + rows[i].position * width, width);
  }
  const auto add_to_x = [&](const at::Tensor& more) { add(xs, more.const_data_ptr<float>(), rows.size() * width); };
  for (size_t number = 0; number < layers_.size(); ++number) {
    const Layer& layer = layers_[number];
    normalise(layer.before_attention, xs, rows.size(), hs);
    attend_all(number, rows, layer.queries_keys_values->apply(h), hs);
    add_to_x(layer.attended->apply(h));
    normalise(layer.before_network, xs, rows.size(), hs);
    at::Tensor wide = layer.widen->apply(h);
    gelu(wide.mutable_data_ptr<float>(), rows.size() * config().inner);
    add_to_x(layer.narrow->apply(wide));
  }
  if (wanted.empty()) return {};
  at::Tensor last = zeros(wanted.size(), width);
  for (size_t i = 0; i < wanted.size(); ++i) {
    normalise(last_, xs + wanted[i] * width, 1, last.mutable_data_ptr<float>() + i * width);
  }
  logits_ = output_->apply(last);
  return {logits_.mutable_data_ptr<float>(), wanted.size() * config().vocabulary};
}

// As many as a step must have, at least. oneDNN compiles a product for every number of rows, half a millisecond and
// half a megabyte each: of more than a usual step has, there are few.
size_t Gpt2OnProcessor::rows_of(size_t rows) const {
  constexpr size_t kEach = 16;
  constexpr size_t kRoundedTo = 8;
  const size_t enough = std::max<size_t>(rows, least_rows_);
  if (!is_compiled_ || enough <= kEach) return enough;
  return (enough + kRoundedTo - 1) / kRoundedTo * kRoundedTo;
}

at::Tensor Gpt2OnProcessor::zeros(size_t rows, size_t columns) const {
  return at::zeros({static_cast<int64_t>(rows_of(rows)), static_cast<int64_t>(columns)}, at::kFloat);
}

// The shapes of all steps and prompts: the layers are alike.
void Gpt2OnProcessor::warm_up() const {
  const Layer& layer = layers_[0];
  const size_t most = std::max<size_t>(slots_, std::min(kPromptChunk, config().context));
  for (size_t rows = rows_of(1); rows <= rows_of(most); rows = rows_of(rows + 1)) {
    const at::Tensor x = zeros(rows, config().width);
    layer.queries_keys_values->apply(x);
    layer.attended->apply(x);
    layer.narrow->apply(layer.widen->apply(x));
    if (rows <= rows_of(slots_)) output_->apply(x);
  }
}

void Gpt2OnProcessor::normalise(const Gpt2Norm& norm, const float* x, size_t rows, float* out) const {
  const size_t width = config().width;
  for (size_t i = 0; i < rows; ++i) {
    layer_norm(x + i * width, norm.gain.const_data_ptr<float>(), norm.shift.const_data_ptr<float>(), config().epsilon,
               width, out + i * width);
  }
}

// Keeps the rows' keys and values; then each row's queries look at what its sequence has by now.
void Gpt2OnProcessor::attend_all(size_t layer, std::span<const Row> rows, const at::Tensor& queries_keys_values,
                                 float* out) {
  const size_t width = config().width;
  const size_t heads = config().heads;
  const size_t head_width = width / heads;
  const size_t of_slot = heads * config().context * padded_to_lanes(head_width);
  float* const keys = cache_.mutable_data_ptr<float>() + 2 * layer * slots_ * of_slot;
  const auto cache_of = [&](uint32_t slot) {
    return AttentionCache{keys + slot * of_slot, keys + (slots_ + slot) * of_slot, config().context};
  };
  const float* const queries = queries_keys_values.const_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* const row = queries + i * 3 * width;
    remember(cache_of(rows[i].slot), rows[i].position, heads, head_width, row + width, row + 2 * width);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    attend(cache_of(rows[i].slot), rows[i].position, heads, head_width, queries + i * 3 * width, scratch_.data(),
           out + i * width);
  }
}

}  // namespace predictor
