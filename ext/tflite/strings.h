// String tensors: int32 count, int32 offset[count + 1] from the start of the buffer, then the bytes
// (tensorflow/lite/string_util.h of release 2.14).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tflite/abi.h"

namespace predictor::tflite {

// Number of strings; 0 for a tensor without a buffer.
int string_count(const Tensor& tensor);

// The string at `index`, from 0 to string_count - 1.
std::string_view string_at(const Tensor& tensor, int index);

// What is wrong with the content, out of a file, of a tensor of so many strings; empty when nothing is.
std::string string_fault(std::string_view content, size_t elements);
std::string string_fault(const Tensor& tensor);

// Makes `text` the only string of a dynamic tensor. false when there is no memory.
bool set_string(Tensor& tensor, std::string_view text);

}  // namespace predictor::tflite
