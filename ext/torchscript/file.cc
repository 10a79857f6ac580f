#include "torchscript/file.h"

#include "weights/model_error.h"

namespace predictor {

torch::jit::Module load_module(const std::string& path, const Device& device) {
  try {
    torch::jit::Module module = torch::jit::load(path, device.place());
    module.eval();
    return module;
  } catch (const std::exception& error) {
    throw ModelError("no TorchScript file: " + reason(error));
  }
}

}  // namespace predictor
