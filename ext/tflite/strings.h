// Tensors of strings: int32 count, int32 offset[count + 1] from the start of the content, then the bytes
// (tensorflow/lite/string_util.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace predictor::tflite {

// What is wrong with the content, out of a file, of a tensor of so many strings; empty when nothing is.
std::string string_fault(std::string_view content, size_t elements);

// The string at `index` of content without a fault.
std::string_view string_at(std::string_view content, size_t index);

}  // namespace predictor::tflite
