#include "tflite/content.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "weights/model_error.h"

namespace predictor::tflite {

namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;

struct Copy {
  explicit Copy(std::string content) : text(std::move(content)), bytes(text) {}
  const std::string text;
  const std::string_view bytes;
};

void check_size(size_t bytes) {
  if (bytes == 0) throw ModelError("the file is empty");
  if (bytes > kMaxBytes) {
    throw ModelError(std::to_string(bytes) + " bytes, more than the " + std::to_string(kMaxBytes) +
                     " that a .tflite file may have");
  }
}

Content owned(std::string bytes) {
  auto owner = std::make_shared<const Copy>(std::move(bytes));
  const std::string_view* view = &owner->bytes;
  return Content(std::move(owner), view);
}

}  // namespace

Content read(int descriptor) {
  struct stat about{};
  if (fstat(descriptor, &about) != 0) throw std::system_error(errno, std::generic_category());
  const auto size = static_cast<size_t>(about.st_size);
  check_size(size);
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(descriptor, bytes.data() + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::system_error(errno, std::generic_category());
    if (got == 0) throw ModelError("the file became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  return owned(std::move(bytes));
}

Content copied(std::string_view bytes) {
  check_size(bytes.size());
  return owned(std::string(bytes));
}

}  // namespace predictor::tflite
