// The error of a model that cannot be served.
#pragma once

#include <stdexcept>
#include <string>

namespace predictor {

// The file, or what it asks for, cannot be served; the message says why.
struct ModelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What went wrong: of a message of libtorch the line that says it, without the stacks around it.
std::string reason(const std::exception& error);

}  // namespace predictor
