// Where libtorch computes: "cpu", "cuda", "cuda:1".
#pragma once

#include <string>

namespace predictor {

// Throws ModelError when this machine, or this build of libtorch, has no such device.
void require_device(const std::string& device);

}  // namespace predictor
