// AOTInductor's packages (.pt2): native code and weights that torch.export and torch's compiler made of a model.
#pragma once

#include <memory>
#include <string>

#include "package/program.h"

namespace predictor {

// Loads native code: the file is trusted as a program is. `runners`: how many may run at the same time. It takes
// (input_ids, attention_mask), or (input_ids, attention_mask, token_type_ids), by place or by these names.
// Throws ModelError when the file is none, or wants other inputs, or another device.
std::unique_ptr<Program> open_package(const std::string& path, const std::string& device, uint32_t runners);

}  // namespace predictor
