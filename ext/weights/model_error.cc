#include "weights/model_error.h"

namespace predictor {

namespace {
constexpr size_t kLongest = 1000;  // of a line, which may quote a damaged file
}

std::string reason(const std::exception& error) {
  const std::string message = error.what();
  const bool of_interpreter = message.starts_with("The following operation failed in the TorchScript interpreter");
  const size_t at = of_interpreter ? message.find_last_not_of('\n') : message.find_first_not_of('\n');
  if (at == std::string::npos) return "an error without a message";
  const size_t begin = message.find_last_of('\n', at) + 1;
  const std::string line = message.substr(begin, message.find('\n', at) - begin);
  return line.size() <= kLongest ? line : line.substr(0, kLongest) + "...";
}

}  // namespace predictor
