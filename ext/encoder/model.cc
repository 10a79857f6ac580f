#include "encoder/model.h"

#include <torch/script.h>

#include <algorithm>
#include <utility>

#include "torchscript/file.h"
#include "transformer/device.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

void require_signature(const torch::jit::Module& module) {
  const auto forward = module.find_method("forward");
  const bool fits = forward && forward->function().getSchema().arguments().size() == 3 &&
                    forward->function().getSchema().arguments()[1].type()->kind() == c10::TypeKind::TensorType &&
                    *forward->function().getSchema().arguments()[2].type() == *c10::ListType::ofInts();
  if (!fits) throw ModelError("forward does not take token ids (Tensor) and lengths (List[int])");
}

// Weights in the order in which oneDNN reads them fastest, on processors that it knows.
torch::jit::Module packed(const std::string& path, const Device& device) {
  torch::jit::Module module = load_module(path, device);
  require_signature(module);
  if (!device.is_processor() || !module.find_method("pack")) return module;
  try {
    const c10::InferenceMode inference;
    module.run_method("pack");
    return module;
  } catch (const std::exception&) {  // it may have got half way
    return load_module(path, device);
  }
}

// Exports of before had libtorch's operator, which is not exact on every processor.
void make_exact(torch::jit::Block* block) {
  static const auto products = torch::jit::Symbol::fromQualString("predictor::int8_products");
  for (auto node = block->nodes().begin(); node != block->nodes().end(); ++node) {
    for (torch::jit::Block* inner : node->blocks()) make_exact(inner);
    if (node->kind() != torch::jit::aten::_int_mm) continue;
    node->replaceWithNewSymbol(products);
    node.destroyCurrent();
  }
}

}  // namespace

struct EncoderModel::Module {
  explicit Module(const std::string& path, Device on) : device(std::move(on)) {
    const auto on_stream = device.guard();
    module = torch::jit::freeze(packed(path, device));
    make_exact(module.get_method("forward").graph()->block());
    device.wait();
  }
  explicit Module(const Module& other) : device(other.device.another()), module(other.module) {}

  const Device device;
  torch::jit::Module module;
};

EncoderModel::EncoderModel(const std::string& path, const std::string& device)
    : module_(std::make_unique<Module>(path, Device(device))) {}

EncoderModel::EncoderModel(std::unique_ptr<Module> module) : module_(std::move(module)) {}

EncoderModel::~EncoderModel() = default;

std::unique_ptr<EncoderModel> EncoderModel::replica() const {
  return std::unique_ptr<EncoderModel>(new EncoderModel(std::make_unique<Module>(*module_)));
}

std::vector<Vector> EncoderModel::run(std::span<const TokenIds* const> texts) {
  const c10::InferenceMode inference;
  const Device& device = module_->device;
  const auto on_stream = device.guard();
  int64_t tokens = 0;
  c10::List<int64_t> lengths;
  for (const TokenIds* text : texts) {
    lengths.push_back(static_cast<int64_t>(text->size()));
    tokens += static_cast<int64_t>(text->size());
  }
  const int64_t rest = tokens % kTokensRoundedTo;
  const int64_t filling = device.is_processor() && rest > 0 ? kTokensRoundedTo - rest : 0;
  for (int64_t i = 0; i < filling; ++i) lengths.push_back(1);
  const torch::Tensor ids = device.staging({tokens + filling}, torch::kInt);
  int32_t* next = ids.mutable_data_ptr<int32_t>();
  for (const TokenIds* text : texts) next = std::copy(text->begin(), text->end(), next);
  std::fill_n(next, filling, 0);
  const torch::Tensor matrix = module_->module.forward({device.bring(ids), lengths}).toTensor();
  if (matrix.dim() != 2 || matrix.size(0) != static_cast<int64_t>(texts.size()) + filling) {
    throw std::runtime_error("the model did not give one vector for each text");
  }
  const torch::Tensor flat = device.fetch(matrix.to(torch::kFloat));
  const float* row = flat.const_data_ptr<float>();
  std::vector<Vector> vectors;
  vectors.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i, row += flat.size(1)) vectors.emplace_back(row, row + flat.size(1));
  return vectors;
}

}  // namespace predictor
