#include "tflite/strings.h"

#include <cstdint>
#include <cstring>

namespace predictor::tflite {

namespace {

int32_t number(std::string_view content, size_t index) {
  int32_t value;
  std::memcpy(&value, content.data() + index * sizeof(value), sizeof(value));
  return value;
}

}  // namespace

std::string string_fault(std::string_view content, size_t elements) {
  if (content.size() < 2 * sizeof(int32_t)) return "has no room for its number of strings";
  const int32_t count = number(content, 0);
  if (count < 0 || content.size() / sizeof(int32_t) - 2 < static_cast<size_t>(count)) {
    return "says that it holds " + std::to_string(count) + " strings in " + std::to_string(content.size()) + " bytes";
  }
  if (static_cast<size_t>(count) != elements) {
    return "holds " + std::to_string(count) + " strings where its shape says " + std::to_string(elements);
  }
  int64_t last = (static_cast<int64_t>(count) + 2) * static_cast<int64_t>(sizeof(int32_t));
  for (int i = 0; i <= count; ++i) {
    const int32_t offset = number(content, static_cast<size_t>(i) + 1);
    if (offset < last || static_cast<size_t>(offset) > content.size()) {
      return "has an offset of " + std::to_string(offset) + " at string " + std::to_string(i);
    }
    last = offset;
  }
  return {};
}

std::string_view string_at(std::string_view content, size_t index) {
  const auto begin = static_cast<size_t>(number(content, index + 1));
  const auto end = static_cast<size_t>(number(content, index + 2));
  return content.substr(begin, end - begin);
}

}  // namespace predictor::tflite
