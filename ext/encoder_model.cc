#include "encoder_model.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/script.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "device.h"
#include "torchscript_model.h"

namespace predictor {

namespace {

torch::jit::Module load(const std::string& path, const c10::Device& device) {
  try {
    torch::jit::Module module = torch::jit::load(path, device);
    module.eval();
    return module;
  } catch (const std::exception& error) {
    throw ModelError("no TorchScript file: " + reason(error));
  }
}

void require_signature(const torch::jit::Module& module) {
  const auto forward = module.find_method("forward");
  const bool fits = forward && forward->function().getSchema().arguments().size() == 3 &&
                    forward->function().getSchema().arguments()[1].type()->kind() == c10::TypeKind::TensorType &&
                    *forward->function().getSchema().arguments()[2].type() == *c10::ListType::ofInts();
  if (!fits) throw ModelError("forward does not take token ids (Tensor) and lengths (List[int])");
}

// Weights in the order in which oneDNN reads them fastest, on processors that it knows.
torch::jit::Module packed(const std::string& path, const c10::Device& device) {
  torch::jit::Module module = load(path, device);
  require_signature(module);
  if (!device.is_cpu() || !module.find_method("pack")) return module;
  try {
    const c10::InferenceMode inference;
    module.run_method("pack");
    return module;
  } catch (const std::exception&) {  // it may have got half way
    return load(path, device);
  }
}

}  // namespace

struct EncoderModel::Module {
  Module(const torch::jit::Module& module, const c10::Device& device) : module(module), device(device) {
    if (!device.is_cpu()) stream = c10::impl::VirtualGuardImpl(device.type()).getNewStream(device);
  }

  torch::jit::Module module;
  const c10::Device device;
  std::optional<c10::Stream> stream;
};

EncoderModel::EncoderModel(const std::string& path, const std::string& device_name) {
  require_device(device_name);
  const c10::Device device(device_name);
  module_ = std::make_unique<Module>(torch::jit::freeze(packed(path, device)), device);
}

EncoderModel::EncoderModel(std::unique_ptr<Module> module) : module_(std::move(module)) {}

EncoderModel::~EncoderModel() = default;

std::unique_ptr<EncoderModel> EncoderModel::replica() const {
  return std::unique_ptr<EncoderModel>(new EncoderModel(std::make_unique<Module>(module_->module, module_->device)));
}

std::vector<Vector> EncoderModel::run(std::span<const TokenIds* const> texts) {
  const c10::InferenceMode inference;
  const c10::OptionalStreamGuard own_stream(module_->stream);
  int64_t tokens = 0;
  c10::List<int64_t> lengths;
  for (const TokenIds* text : texts) {
    lengths.push_back(static_cast<int64_t>(text->size()));
    tokens += static_cast<int64_t>(text->size());
  }
  const bool elsewhere = !module_->device.is_cpu();
  const int64_t filling = elsewhere ? 0 : (kTokensRoundedTo - tokens % kTokensRoundedTo) % kTokensRoundedTo;
  for (int64_t i = 0; i < filling; ++i) lengths.push_back(1);
  torch::Tensor ids = torch::zeros({tokens + filling}, torch::dtype(torch::kInt).pinned_memory(elsewhere));
  int32_t* next = ids.mutable_data_ptr<int32_t>();
  for (const TokenIds* text : texts) next = std::copy(text->begin(), text->end(), next);
  if (elsewhere) ids = ids.to(module_->device, /*non_blocking=*/true);
  const torch::Tensor matrix = module_->module.forward({ids, lengths}).toTensor();
  if (matrix.dim() != 2 || matrix.size(0) != static_cast<int64_t>(texts.size()) + filling) {
    throw std::runtime_error("the model did not give one vector for each text");
  }
  const torch::Tensor flat = matrix.to(torch::kCPU, torch::kFloat).contiguous();  // waits for the device
  const float* row = flat.const_data_ptr<float>();
  std::vector<Vector> vectors;
  vectors.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i, row += flat.size(1)) vectors.emplace_back(row, row + flat.size(1));
  return vectors;
}

}  // namespace predictor
