// Named tensors as a model's files hold them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace predictor {

struct Weight {
  std::string dtype;  // as safetensors names it: F32, F16, BF16, I8, ...
  std::vector<int64_t> shape;
  std::string_view bytes;  // row after row, little endian; of any alignment
};
using Weights = std::map<std::string, Weight>;

}  // namespace predictor
