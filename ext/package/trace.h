// TorchScript modules of (input_ids, attention_mask) or (input_ids, attention_mask, token_type_ids): what
// torch.jit.trace makes of a model of transformers.
#pragma once

#include <memory>
#include <string>

#include "package/program.h"

namespace predictor {

// Throws ModelError when the file is none, or its forward takes other inputs.
std::unique_ptr<Program> open_trace(const std::string& path, const std::string& device);

}  // namespace predictor
