#include "tflite/content.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "weights/model_error.h"

namespace predictor::tflite {

namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;

struct Mapping {
  explicit Mapping(std::string_view bytes) : bytes(bytes) {}
  ~Mapping() { munmap(const_cast<char*>(bytes.data()), bytes.size()); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  const std::string_view bytes;
};

struct Copy {
  explicit Copy(std::string_view content) : text(content), bytes(text) {}
  const std::string text;
  const std::string_view bytes;
};

template <typename Owner>
Content content_of(std::shared_ptr<Owner> owner) {
  const std::string_view* bytes = &owner->bytes;
  return Content(std::move(owner), bytes);
}

void check_size(size_t bytes) {
  if (bytes == 0) throw ModelError("the file is empty");
  if (bytes > kMaxBytes) {
    throw ModelError(std::to_string(bytes) + " bytes, more than the " + std::to_string(kMaxBytes) +
                     " that a .tflite file may have");
  }
}

}  // namespace

Content mapped(int descriptor) {
  struct stat about{};
  if (fstat(descriptor, &about) != 0) throw std::system_error(errno, std::generic_category());
  const auto size = static_cast<size_t>(about.st_size);
  check_size(size);
  void* begin = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, descriptor, 0);
  if (begin == MAP_FAILED) throw std::system_error(errno, std::generic_category());
  return content_of(std::make_shared<Mapping>(std::string_view(static_cast<const char*>(begin), size)));
}

Content copied(std::string_view bytes) {
  check_size(bytes.size());
  return content_of(std::make_shared<Copy>(bytes));
}

}  // namespace predictor::tflite
