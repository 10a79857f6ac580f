// A file in memory as the system's cache has it: read when it is looked at, shared by all that map it, never copied.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace predictor {

class MappedFile {
 public:
  // Throws ModelError when the file cannot be opened or mapped.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::string_view bytes() const { return {data_, size_}; }

  // Gives the pages back that were read; what is looked at again is read again.
  void forget() const;

  // The same of a part, where it lies in a mapped file; other memory is left alone.
  static void forget(const void* begin, size_t bytes);

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace predictor
