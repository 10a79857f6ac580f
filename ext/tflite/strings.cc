#include "tflite/strings.h"

#include <cstring>

#include "tflite/library.h"

namespace predictor::tflite {

namespace {

int32_t number(const char* content, size_t index) {
  int32_t value;
  std::memcpy(&value, content + index * sizeof(value), sizeof(value));
  return value;
}

}  // namespace

int string_count(const Tensor& tensor) {
  return tensor.data && tensor.bytes >= sizeof(int32_t) ? number(tensor.bytes_data, 0) : 0;
}

std::string_view string_at(const Tensor& tensor, int index) {
  int32_t begin = number(tensor.bytes_data, static_cast<size_t>(index) + 1);
  int32_t end = number(tensor.bytes_data, static_cast<size_t>(index) + 2);
  return {tensor.bytes_data + begin, static_cast<size_t>(end - begin)};
}

std::string string_fault(std::string_view content, size_t elements) {
  if (content.size() < 2 * sizeof(int32_t)) return "has no room for its number of strings";
  const int32_t count = number(content.data(), 0);
  if (count < 0 || content.size() / sizeof(int32_t) - 2 < static_cast<size_t>(count)) {
    return "says that it holds " + std::to_string(count) + " strings in " + std::to_string(content.size()) + " bytes";
  }
  if (static_cast<size_t>(count) != elements) {
    return "holds " + std::to_string(count) + " strings where its shape says " + std::to_string(elements);
  }
  int64_t last = (static_cast<int64_t>(count) + 2) * static_cast<int64_t>(sizeof(int32_t));
  for (int i = 0; i <= count; ++i) {
    const int32_t offset = number(content.data(), static_cast<size_t>(i) + 1);
    if (offset < last || static_cast<size_t>(offset) > content.size()) {
      return "has an offset of " + std::to_string(offset) + " at string " + std::to_string(i);
    }
    last = offset;
  }
  return {};
}

std::string string_fault(const Tensor& tensor) {
  size_t elements = 1;
  for (int i = 0; i < tensor.dims->size; ++i) elements *= static_cast<size_t>(tensor.dims->data[i]);
  return string_fault({tensor.bytes_data, tensor.data ? tensor.bytes : 0}, elements);
}

bool set_string(Tensor& tensor, std::string_view text) {
  const int32_t header[] = {1, 3 * sizeof(int32_t), static_cast<int32_t>(3 * sizeof(int32_t) + text.size())};
  library().tensor_realloc(sizeof(header) + text.size(), &tensor);
  if (!tensor.data || tensor.bytes < sizeof(header) + text.size()) return false;
  std::memcpy(tensor.data, header, sizeof(header));
  std::memcpy(tensor.bytes_data + sizeof(header), text.data(), text.size());
  return true;
}

}  // namespace predictor::tflite
