#include "package/trace.h"

#include <torch/script.h>

#include <stdexcept>
#include <utility>
#include <vector>

#include "torchscript/file.h"
#include "transformer/device.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

// What forward takes, without self. Throws ModelError.
size_t count_inputs(const torch::jit::Module& module) {
  const c10::FunctionSchema& schema = module.get_method("forward").function().getSchema();
  std::string names;
  size_t tensors = 0, needed = 0;
  for (size_t i = 1; i < schema.arguments().size(); ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    names += (names.empty() ? "" : ", ") + argument.name();
    needed += argument.default_value() ? 0 : 1;
    tensors += argument.type()->isSubtypeOf(*c10::TensorType::get()) ? 1 : 0;
  }
  const size_t count = schema.arguments().size() - 1;
  if (needed != count || tensors != count || count < 2 || count > 3) {
    throw ModelError("its forward takes (" + names +
                     "); expected tensors (input_ids, attention_mask), and token_type_ids if needed");
  }
  return count;
}

// The tensor, or the first one of a tuple or of a dictionary (last_hidden_state, logits).
at::Tensor first_tensor(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor();
  if (value.isTuple() && !value.toTupleRef().elements().empty()) return first_tensor(value.toTupleRef().elements()[0]);
  if (value.isGenericDict() && value.toGenericDict().size() > 0) {
    return first_tensor(value.toGenericDict().begin()->value());
  }
  throw std::runtime_error("the model gave a " + value.type()->str() +
                           "; expected a tensor, or a tuple that begins so");
}

class Trace : public Program {
 public:
  Trace(const std::string& path, const std::string& device_name)
      : device_(device_name), module_(load_module(path, device_)), inputs_(count_inputs(module_)) {}

  at::Tensor run(const PaddedTexts& texts) const override {
    const auto on_stream = device_.guard();
    std::vector<c10::IValue> inputs = {device_.bring(texts.ids), device_.bring(texts.mask)};
    if (inputs_ == 3) inputs.emplace_back(device_.bring(texts.types));
    return device_.fetch(first_tensor(module_.forward(std::move(inputs))));
  }

 private:
  const Device device_;
  mutable torch::jit::Module module_;  // a trace changes nothing of itself
  const size_t inputs_;
};

}  // namespace

std::unique_ptr<Program> open_trace(const std::string& path, const std::string& device) {
  return std::make_unique<Trace>(path, device);
}

}  // namespace predictor
