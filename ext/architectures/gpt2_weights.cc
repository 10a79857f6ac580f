#include "architectures/gpt2_weights.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <optional>

#include "weights/model_error.h"

namespace predictor {

namespace {

std::string text(const std::vector<int64_t>& shape) {
  std::string joined;
  for (const int64_t size : shape) joined += (joined.empty() ? "[" : ", ") + std::to_string(size);
  return joined.empty() ? "[]" : joined + "]";
}

std::optional<at::ScalarType> scalar_type(const std::string& dtype) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "I8") return at::kChar;
  return std::nullopt;
}

}  // namespace

at::Tensor Gpt2Weights::token_embeddings() const {
  return floats("wte.weight", {config_.vocabulary, config_.hidden_size});
}

at::Tensor Gpt2Weights::position_embeddings() const {
  return floats("wpe.weight", {config_.context, config_.hidden_size});
}

Gpt2Layer Gpt2Weights::layer(uint32_t number) const {
  const std::string name = "h." + std::to_string(number);
  const int64_t hidden_size = config_.hidden_size;
  const int64_t intermediate_size = config_.intermediate_size;
  return {norm(name + ".ln_1"),
          matrix(name + ".attn.c_attn", hidden_size, 3 * hidden_size, true),
          matrix(name + ".attn.c_proj", hidden_size, hidden_size, true),
          norm(name + ".ln_2"),
          matrix(name + ".mlp.c_fc", hidden_size, intermediate_size, true),
          matrix(name + ".mlp.c_proj", intermediate_size, hidden_size, true)};
}

Gpt2Norm Gpt2Weights::final_norm() const {
  return norm("ln_f");
}

Gpt2Matrix Gpt2Weights::lm_head() const {
  const bool may_be_the_tokens = precision_ != Precision::int8;
  if (may_be_the_tokens && !weights_.contains("lm_head.weight")) return {};
  return matrix("lm_head", config_.hidden_size, config_.vocabulary, false);
}

at::Tensor Gpt2Weights::floats(const std::string& name, const std::vector<int64_t>& shape) const {
  return read(name, shape, false).to(at::kFloat).contiguous();
}

Gpt2Norm Gpt2Weights::norm(const std::string& name) const {
  const std::vector<int64_t> shape{config_.hidden_size};
  return {floats(name + ".weight", shape), floats(name + ".bias", shape)};
}

Gpt2Matrix Gpt2Weights::matrix(const std::string& name, int64_t in, int64_t out, bool biased) const {
  const bool whole = precision_ == Precision::int8;
  return {read(name + ".weight", {in, out}, whole), whole ? floats(name + ".weight_scale", {out}) : at::Tensor(),
          biased ? floats(name + ".bias", {out}) : at::Tensor()};
}

at::Tensor Gpt2Weights::read(const std::string& name, const std::vector<int64_t>& shape, bool whole) const {
  const auto found = weights_.find(name);
  if (found == weights_.end()) throw ModelError("there is no weight " + name);
  const Weight& weight = found->second;
  if (weight.shape != shape) {
    throw ModelError("weight " + name + " is of shape " + text(weight.shape) + "; by the configuration it must be " +
                     text(shape));
  }
  const std::optional<at::ScalarType> type = scalar_type(weight.dtype);
  if (!type || (*type == at::kChar) != whole) {
    throw ModelError("weight " + name + " is of type " + weight.dtype + "; " +
                     (whole ? "expected I8" : "expected F32, F16 or BF16"));
  }
  at::Tensor tensor = at::empty(shape, *type);
  if (tensor.nbytes() != weight.bytes.size()) throw ModelError("weight " + name + " is cut short");
  std::memcpy(tensor.mutable_data_ptr(), weight.bytes.data(), weight.bytes.size());
  return tensor;
}

}  // namespace predictor
