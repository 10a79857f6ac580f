// Memory for what is packed once and read as a whole for every token.
#pragma once

#include <cstddef>
#include <memory>

namespace predictor::kernels {

// Zeros, aligned to 64 bytes, in pages of 2 MiB where the system gives them: a processor that reads ahead stops at the
// end of a page, and looks each of them up. Small pieces share such pages.
class PackedMemory {
 public:
  // Throws std::bad_alloc.
  explicit PackedMemory(size_t bytes);

  char* data() { return memory_.get(); }
  const char* data() const { return memory_.get(); }

 private:
  std::shared_ptr<char> memory_;
};

}  // namespace predictor::kernels
