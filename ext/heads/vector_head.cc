#include "heads/vector_head.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "heads/head_layer.h"
#include "kernels/norms.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

class Dense : public VectorModule {
 public:
  Dense(const Config& description, int64_t& size, const WeightReader& weights)
      : activation_(activation_named(description.text("activation", "identity"), "activation of a Dense module")) {
    const std::string name = description.text("weights");
    const std::vector<int64_t> shape = weights.shape(name + ".weight");
    if (shape.size() != 2 || shape[1] != size) {
      throw ModelError("weight " + name + ".weight does not take vectors of " + std::to_string(size) + " numbers");
    }
    linear_ = Linear::read(weights, name, size, shape[0], weights.has(name + ".bias"), head_execution());
    const std::string residual = description.text("residual", "");
    is_residual_ = !residual.empty();
    if (is_residual_ && size != shape[0]) {
      residual_ = Linear::read(weights, residual, size, shape[0], false, head_execution());
    }
    size = shape[0];
  }

  void apply(at::Tensor& x) const override {
    at::Tensor out = linear_->apply(x);
    activate(activation_, out);
    if (is_residual_) out.add_(residual_ ? residual_->apply(x) : x);
    x = out;
  }

 private:
  std::unique_ptr<Linear> linear_;
  bool is_residual_;                  // what comes in is added to what the activation gives
  std::unique_ptr<Linear> residual_;  // after this product, where the sizes differ
  const Activation activation_;
};

class LayerNormModule : public VectorModule {
 public:
  LayerNormModule(const Config& description, int64_t size, const WeightReader& weights)
      : norm_(weights, description.text("weights"), size, description.number("epsilon", 1e-5), head_execution()) {}

  void apply(at::Tensor& x) const override { norm_.apply(x); }

 private:
  const Norm norm_;
};

class NormalizeModule : public VectorModule {
 public:
  void apply(at::Tensor& x) const override {
    constexpr float kEpsilon = 1e-12f;  // as torch.nn.functional.normalize
    const int64_t size = x.size(1);
    float* const rows = x.mutable_data_ptr<float>();
    for (int64_t i = 0; i < x.size(0); ++i) kernels::l2_normalize(rows + i * size, static_cast<size_t>(size), kEpsilon);
  }
};

}  // namespace

std::vector<std::unique_ptr<VectorModule>> make_modules(const std::vector<Config>& modules, int64_t& size,
                                                        const WeightReader& weights) {
  std::vector<std::unique_ptr<VectorModule>> made;
  for (const Config& module : modules) {
    const std::string type = module.text("type");
    if (type == "dense") {
      made.push_back(std::make_unique<Dense>(module, size, weights));
    } else if (type == "layer_norm") {
      made.push_back(std::make_unique<LayerNormModule>(module, size, weights));
    } else if (type == "normalize") {
      made.push_back(std::make_unique<NormalizeModule>());
    } else {
      module.refuse("type", "no such module is known here");
    }
  }
  return made;
}

VectorHead::VectorHead(const Config& description, int64_t hidden_size, const WeightReader& weights)
    : columns_(hidden_size) {
  const std::vector<Config> modules = description.objects("modules");
  const auto is_pooling = [](const Config& module) { return module.text("type") == "pooling"; };
  const auto pooling = std::find_if(modules.begin(), modules.end(), is_pooling);
  if (pooling == modules.end()) throw ModelError("the folder says no pooling");
  of_tokens_ = make_modules({modules.begin(), pooling}, columns_, weights);
  for (const std::string& name : pooling->texts("modes")) poolings_.push_back(pooling_named(name));
  if (poolings_.empty()) throw ModelError("the folder's pooling has no mode");
  columns_ *= static_cast<int64_t>(poolings_.size());
  of_texts_ = make_modules({pooling + 1, modules.end()}, columns_, weights);
}

at::Tensor VectorHead::pooled(const at::Tensor& tokens, const TextBatch& batch) const {
  const int64_t size = tokens.size(1);
  at::Tensor out = at::empty(
      {static_cast<int64_t>(batch.lengths.size()), size * static_cast<int64_t>(poolings_.size())}, at::kFloat);
  const float* from = tokens.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  for (size_t text = 0; text < batch.lengths.size(); ++text) {
    // a text that is all prompt is pooled whole, not divided by nothing
    const int64_t skipped = batch.prompt_tokens[text] < batch.lengths[text] ? batch.prompt_tokens[text] : 0;
    for (const Pooling pooling : poolings_) {
      pool(pooling, from + skipped * size, batch.lengths[text] - skipped, size, to, skipped + 1);
      to += size;
    }
    from += batch.lengths[text] * size;
  }
  return out;
}

std::vector<Vector> VectorHead::apply(const at::Tensor& hidden, const TextBatch& batch) const {
  at::Tensor x = hidden;
  for (const auto& module : of_tokens_) module->apply(x);
  x = pooled(x, batch);
  for (const auto& module : of_texts_) module->apply(x);
  std::vector<Vector> vectors;
  const float* row = x.const_data_ptr<float>();
  for (size_t text = 0; text < batch.lengths.size(); ++text, row += columns_) vectors.emplace_back(row, row + columns_);
  return vectors;
}

TokenVectorHead::TokenVectorHead(const Config& description, int64_t hidden_size, const WeightReader& weights)
    : columns_(hidden_size) {
  modules_ = make_modules(description.objects("modules"), columns_, weights);
}

std::vector<Vector> TokenVectorHead::apply(const at::Tensor& hidden, const TextBatch& batch) const {
  at::Tensor x = hidden;
  for (const auto& module : modules_) module->apply(x);
  std::vector<Vector> vectors;
  const float* row = x.const_data_ptr<float>();
  for (const int64_t length : batch.lengths) {
    vectors.emplace_back(row, row + length * columns_);
    row += length * columns_;
  }
  return vectors;
}

}  // namespace predictor
