// A TorchScript file in memory.
#pragma once

#include <torch/script.h>

#include <string>

#include "transformer/device.h"

namespace predictor {

// The module, on the device and ready for inference. Throws ModelError when the file is none.
torch::jit::Module load_module(const std::string& path, const Device& device);

}  // namespace predictor
