// Whether a module's code may go round without an end.
#pragma once

#include <torch/script.h>

namespace predictor {

// Whether forward has a loop that ends by a condition alone (`while`), or calls what cannot be looked into. A loop over
// a range or a list ends.
bool may_loop_for_ever(const torch::jit::Module& module);

}  // namespace predictor
