#include "architectures/gpt2_on_device.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr size_t kPrefillRoundedTo = 16;  // rows: few shapes, all of which are warm

// Rows' numbers on their way to the device: each an equal part of one int64 tensor, then the rows whose logits are
// returned.
class Staged {
 public:
  Staged(const Device& device, size_t rows, size_t logit_rows, int64_t idle_place)
      : device_(device),
        rows_(static_cast<int64_t>(rows)),
        logit_rows_(static_cast<int64_t>(logit_rows)),
        staged_(device.staging({3 * rows_ + logit_rows_}, at::kLong)),
        numbers_(staged_.mutable_data_ptr<int64_t>()) {
    std::fill_n(numbers_, 2 * rows, 0);
    std::fill_n(numbers_ + 2 * rows, rows, idle_place);
  }

  void set_row(size_t i, const Gpt2Model::Row& row) {
    const auto rows = static_cast<size_t>(rows_);
    numbers_[i] = row.token;
    numbers_[rows + i] = numbers_[2 * rows + i] = row.position;
  }
  void set_logit_row(size_t i, uint32_t row) { numbers_[static_cast<size_t>(3 * rows_) + i] = row; }

  // tokens, positions, places, logit_rows
  std::vector<at::Tensor> bring() const {
    return device_.bring(staged_).split_with_sizes({rows_, rows_, rows_, logit_rows_});
  }

 private:
  const Device& device_;
  const int64_t rows_;
  const int64_t logit_rows_;
  at::Tensor staged_;
  int64_t* const numbers_;
};

// x float32 [rows, in] -> float32 [rows, out]
at::Tensor apply(const Gpt2Matrix& matrix, const at::Tensor& x) {
  if (matrix.weight.scalar_type() == at::kFloat) {
    return matrix.bias.defined() ? at::addmm(matrix.bias, x, matrix.weight) : at::mm(x, matrix.weight);
  }
  at::Tensor out = at::mm(x.to(matrix.weight.scalar_type()), matrix.weight).to(at::kFloat);
  if (matrix.scales.defined()) out.mul_(matrix.scales);
  return matrix.bias.defined() ? out.add_(matrix.bias) : out;
}

}  // namespace

Gpt2OnDevice::Gpt2OnDevice(const Gpt2Config& config, const Gpt2Weights& weights, Precision precision, Device device,
                           uint32_t slots)
    : Gpt2Model(config), device_(std::move(device)), slots_(slots) {
  const auto on_stream = device_.guard();
  // Whole numbers of 8 bits are the same in bfloat16: weights of int8 stay what they are, and no input is rounded to 8
  // bits.
  const at::ScalarType type = precision == Precision::float32 ? at::kFloat : at::kBFloat16;
  const auto there = [&](const at::Tensor& tensor, at::ScalarType as) {
    return tensor.defined() ? tensor.to(device_.place(), as) : tensor;
  };
  const auto norm = [&](const Gpt2Norm& read) {
    return Gpt2Norm{there(read.weight, at::kFloat), there(read.bias, at::kFloat)};
  };
  const auto matrix = [&](const Gpt2Matrix& read) {
    return Gpt2Matrix{there(read.weight, type), there(read.scales, at::kFloat), there(read.bias, at::kFloat)};
  };
  token_embeddings_ = there(weights.token_embeddings(), at::kFloat);
  position_embeddings_ = there(weights.position_embeddings(), at::kFloat);
  for (uint32_t i = 0; i < config.layers; ++i) {
    const Gpt2Layer layer = weights.layer(i);
    layers_.push_back({norm(layer.attention_norm), matrix(layer.qkv_projection), matrix(layer.output_projection),
                       norm(layer.mlp_norm), matrix(layer.up_projection), matrix(layer.down_projection)});
  }
  final_norm_ = norm(weights.final_norm());
  lm_head_ = matrix(weights.lm_head());
  if (!lm_head_.weight.defined()) lm_head_.weight = token_embeddings_.to(type).t();
  const auto options = at::TensorOptions(at::kFloat).device(device_.place());
  const int64_t places = config.context + 1;
  places_ = at::arange(places, options.dtype(at::kLong));
  cache_ = at::zeros({config.layers, 2, slots_, config.heads, places, config.hidden_size / config.heads}, options);
  warm_up();
  device_.wait();
}

std::span<float> Gpt2OnDevice::forward(std::span<const Row> rows, std::span<const uint32_t> logit_rows) {
  const c10::InferenceMode inference;
  const auto on_stream = device_.guard();
  const bool is_prefill = rows.size() > 1 && rows[0].slot == rows[1].slot;
  try {
    for (const Row& row : rows) {
      // A masked place counts 0 times what is in it: that must be a number.
      if (row.position == 0) cache_.select(2, row.slot).zero_();
    }
    logits_ = device_.fetch(run(is_prefill ? prefill(rows, logit_rows) : decode_step(rows, logit_rows)));
  } catch (const c10::Error& error) {
    throw std::runtime_error("the device failed: " + reason(error));
  }
  return {logits_.mutable_data_ptr<float>(), logit_rows.size() * config().vocabulary};
}

// A row for every slot, in the slots' order.
Gpt2OnDevice::Pass Gpt2OnDevice::decode_step(std::span<const Row> rows, std::span<const uint32_t> logit_rows) const {
  Staged staged(device_, static_cast<size_t>(slots_), logit_rows.size(), config().context);
  for (const Row& row : rows) staged.set_row(row.slot, row);
  for (size_t i = 0; i < logit_rows.size(); ++i) staged.set_logit_row(i, rows[logit_rows[i]].slot);
  const std::vector<at::Tensor> parts = staged.bring();
  return {0, slots_, 1, parts[0], parts[1], parts[2], parts[3]};
}

// The rows of one slot, filled up.
Gpt2OnDevice::Pass Gpt2OnDevice::prefill(std::span<const Row> rows, std::span<const uint32_t> logit_rows) const {
  const size_t count = (rows.size() + kPrefillRoundedTo - 1) / kPrefillRoundedTo * kPrefillRoundedTo;
  Staged staged(device_, count, logit_rows.size(), config().context);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].slot != rows[0].slot) throw std::invalid_argument("rows of one slot and of another");
    staged.set_row(i, rows[i]);
  }
  for (size_t i = 0; i < logit_rows.size(); ++i) staged.set_logit_row(i, logit_rows[i]);
  const std::vector<at::Tensor> parts = staged.bring();
  return {rows[0].slot, 1, static_cast<int64_t>(count), parts[0], parts[1], parts[2], parts[3]};
}

// Logits float32 [logit_rows, vocabulary].
at::Tensor Gpt2OnDevice::run(const Pass& pass) {
  at::Tensor x = token_embeddings_.index_select(0, pass.token);
  x.add_(position_embeddings_.index_select(0, pass.position));
  const at::Tensor later = places_.gt(pass.position.view({pass.slots, 1, pass.tokens, 1}));
  for (size_t number = 0; number < layers_.size(); ++number) {
    const Gpt2Layer& layer = layers_[number];
    const at::Tensor qkv = apply(layer.qkv_projection, normalized(layer.attention_norm, x));
    x.add_(apply(layer.output_projection, attention(number, pass, qkv, later)));
    const at::Tensor intermediate = apply(layer.up_projection, normalized(layer.mlp_norm, x));
    x.add_(apply(layer.down_projection, at::gelu(intermediate, "tanh")));
  }
  if (pass.is_decode_step()) return apply(lm_head_, normalized(final_norm_, x)).index_select(0, pass.logit_rows);
  return apply(lm_head_, normalized(final_norm_, x.index_select(0, pass.logit_rows)));
}

// Keeps keys and values, and looks at all that there are but those `later` names. [rows, hidden_size]
at::Tensor Gpt2OnDevice::attention(size_t layer, const Pass& pass, const at::Tensor& qkv, const at::Tensor& later) {
  const int64_t heads = config().heads;
  const int64_t head_size = config().hidden_size / config().heads;
  const at::Tensor parts =  // [queries, keys and values, slots, heads, tokens, head_size]
      qkv.view({pass.slots, pass.tokens, 3, heads, head_size}).permute({2, 0, 3, 1, 4});
  const at::Tensor place =
      pass.place.view({pass.slots, 1, pass.tokens, 1}).expand({pass.slots, heads, pass.tokens, head_size});
  const at::Tensor cache = cache_.select(0, static_cast<int64_t>(layer)).narrow(1, pass.first_slot, pass.slots);
  const at::Tensor keys = cache.select(0, 0).scatter_(2, place, parts.select(0, 1));
  const at::Tensor values = cache.select(0, 1).scatter_(2, place, parts.select(0, 2));
  at::Tensor scores = at::matmul(parts.select(0, 0), keys.transpose(2, 3));
  scores.mul_(1 / std::sqrt(static_cast<double>(head_size)));
  scores.masked_fill_(later, -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(scores, -1), values)
      .transpose(1, 2)
      .reshape({pass.slots * pass.tokens, heads * head_size});
}

at::Tensor Gpt2OnDevice::normalized(const Gpt2Norm& norm, const at::Tensor& x) const {
  return at::layer_norm(x, {config().hidden_size}, norm.weight, norm.bias, config().epsilon);
}

// Runs every shape that will come; and tries whether a token's logits are the same in every slot, and beside others.
void Gpt2OnDevice::warm_up() {
  const auto slots = static_cast<uint32_t>(slots_);
  const auto of_all = [&](auto token_of) {
    std::vector<Row> rows;
    std::vector<uint32_t> logit_rows;
    for (uint32_t slot = 0; slot < slots; ++slot) {
      logit_rows.push_back(slot);
      rows.push_back({slot, 0, token_of(slot) % config().vocabulary});
    }
    const std::span<float> logits = forward(rows, logit_rows);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> same = of_all([](uint32_t) { return 1; });
  const std::vector<float> different = of_all([](uint32_t slot) { return slot + 1; });
  const auto hidden_size = static_cast<std::ptrdiff_t>(config().vocabulary);
  for (auto row = same.begin(); row != same.end(); row += hidden_size) {
    batch_invariant_ = batch_invariant_ && std::equal(row, row + hidden_size, different.begin());
  }
  std::vector<Row> rows;
  const uint32_t most = std::min(kPrefillChunk, config().context);
  for (uint32_t i = 0; i < most; ++i) {
    rows.push_back({0, i, 0});
    if (rows.size() % kPrefillRoundedTo == 0 || rows.size() == most) forward(rows, {});
  }
}

}  // namespace predictor
