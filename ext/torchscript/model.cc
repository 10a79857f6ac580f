#include "torchscript/model.h"

#include <torch/script.h>

#include <cstddef>
#include <utility>

#include "torchscript/file.h"
#include "torchscript/loops.h"
#include "torchscript/signature.h"
#include "transformer/device.h"

namespace predictor {

namespace {

// Weights as constants, dropout and branches on attributes gone. What cannot be frozen is served as it is.
torch::jit::Module frozen(const torch::jit::Module& module) {
  try {
    return torch::jit::freeze(module);
  } catch (const std::exception&) {
    return module;
  }
}

void expect_count(size_t count, size_t expected) {
  if (count != expected) {
    throw std::runtime_error("the model gave " + std::to_string(count) + " results for " + std::to_string(expected) +
                             " documents");
  }
}

std::vector<double> numbers(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.to(torch::kCPU, torch::kDouble).contiguous();
  const double* values = flat.const_data_ptr<double>();
  return {values, values + flat.numel()};
}

}  // namespace

struct TorchScriptModel::Module {
  Module(const std::string& path, const std::string& device_name)
      : device(device_name), module(load_module(path, device)), signature(module) {
    const auto on_stream = device.guard();
    module = frozen(module);
    device.wait();
  }
  explicit Module(const Module& other)
      : device(other.device.another()), module(other.module.deepcopy()), signature(other.signature) {}

  std::vector<Result> read(const c10::IValue& returned, size_t count);
  Result read_labels(const c10::IValue& scores);
  Result read_label_sets(const c10::IValue& sets);
  std::vector<Result> read_vectors(const c10::IValue& output, size_t count);
  std::shared_ptr<const Labels> share(Labels labels);

  const Device device;
  torch::jit::Module module;
  const Signature signature;
  std::shared_ptr<const Labels> last_labels;  // what most results have: compared, not copied
};

TorchScriptModel::TorchScriptModel(const std::string& path, const std::string& device)
    : module_(std::make_unique<Module>(path, device)) {}

TorchScriptModel::TorchScriptModel(std::unique_ptr<Module> module) : module_(std::move(module)) {}

TorchScriptModel::~TorchScriptModel() = default;

bool TorchScriptModel::takes_texts() const {
  return module_->signature.takes_texts();
}

OutputKind TorchScriptModel::output() const {
  return module_->signature.output();
}

bool TorchScriptModel::loops_are_short() const {
  return predictor::loops_are_short(module_->module);
}

std::unique_ptr<TorchScriptModel> TorchScriptModel::replica() const {
  try {
    // A frozen module's weights are constants of its code, which copies share; what it keeps as attributes is what a
    // call may change. Of a module that could not be frozen the weights are copied too.
    return std::unique_ptr<TorchScriptModel>(new TorchScriptModel(std::make_unique<Module>(*module_)));
  } catch (const std::exception& error) {
    throw ModelError("the module cannot be copied for more than one replica: " + reason(error));
  }
}

std::vector<Result> TorchScriptModel::run(std::span<const Document* const> documents) {
  const c10::InferenceMode inference;
  const auto on_stream = module_->device.guard();
  return module_->read(module_->module.forward(module_->signature.arguments(documents)), documents.size());
}

std::vector<Result> TorchScriptModel::Module::read(const c10::IValue& returned, size_t count) {
  const c10::IValue& output = signature.output_in_tuple() ? returned.toTupleRef().elements()[0] : returned;
  if (signature.output() == OutputKind::vectors) return read_vectors(output, count);
  std::vector<Result> results;
  results.reserve(count);
  if (signature.output() == OutputKind::score) {
    static const auto score = std::make_shared<const Labels>(Labels{"score"});
    for (double value : output.toDoubleVector()) results.push_back({score, {value}});
  } else {
    for (const c10::IValue& item : output.toListRef()) {
      results.push_back(signature.output() == OutputKind::labels ? read_labels(item) : read_label_sets(item));
    }
  }
  expect_count(results.size(), count);
  return results;
}

Result TorchScriptModel::Module::read_labels(const c10::IValue& scores) {
  const auto dict = scores.toGenericDict();
  Result result;
  result.values.reserve(dict.size());
  bool same = last_labels && last_labels->size() == dict.size();
  size_t i = 0;
  for (const auto& entry : dict) {
    same = same && entry.key().toStringRef() == (*last_labels)[i++];
    result.values.push_back(entry.value().toDouble());
  }
  if (same) {
    result.labels = last_labels;
  } else {
    Labels labels;
    labels.reserve(dict.size());
    for (const auto& entry : dict) labels.push_back(entry.key().toStringRef());
    result.labels = share(std::move(labels));
  }
  return result;
}

// One dict is answered as it is; of several, each label carries its set's (or word's) position: "2:label".
Result TorchScriptModel::Module::read_label_sets(const c10::IValue& sets) {
  const auto& items = sets.toListRef();
  if (items.size() == 1) return read_labels(items[0]);
  Labels labels;
  Result result;
  for (size_t position = 0; position < items.size(); ++position) {
    for (const auto& entry : items[position].toGenericDict()) {
      labels.push_back(std::to_string(position) + ":" + entry.key().toStringRef());
      result.values.push_back(entry.value().toDouble());
    }
  }
  result.labels = share(std::move(labels));
  return result;
}

std::vector<Result> TorchScriptModel::Module::read_vectors(const c10::IValue& output, size_t count) {
  std::vector<Result> results;
  results.reserve(count);
  if (output.isTensor()) {
    const torch::Tensor& matrix = output.toTensor();
    if (matrix.dim() != 2) {
      throw std::runtime_error("the model gave a tensor of " + std::to_string(matrix.dim()) +
                               " dimensions; expected [documents, numbers]");
    }
    expect_count(static_cast<size_t>(matrix.size(0)), count);
    const std::vector<double> values = numbers(matrix);
    const auto columns = static_cast<std::ptrdiff_t>(matrix.size(1));
    for (auto row = values.begin(); results.size() < count; row += columns) {
      results.push_back({nullptr, {row, row + columns}});
    }
  } else {
    for (const c10::IValue& item : output.toListRef()) results.push_back({nullptr, numbers(item.toTensor())});
    expect_count(results.size(), count);
  }
  return results;
}

std::shared_ptr<const Labels> TorchScriptModel::Module::share(Labels labels) {
  if (!last_labels || *last_labels != labels) last_labels = std::make_shared<const Labels>(std::move(labels));
  return last_labels;
}

}  // namespace predictor
