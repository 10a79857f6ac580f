#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "weights/model_error.h"

namespace predictor {

namespace {

// Where files are mapped: the ends by the beginnings.
class Mappings {
 public:
  static Mappings& all() {
    static Mappings& mappings = *new Mappings;  // which outlives every file
    return mappings;
  }

  void add(const char* data, size_t size) {
    const std::lock_guard lock(mutex_);
    ends_[data] = data + size;
  }
  void remove(const char* data) {
    const std::lock_guard lock(mutex_);
    ends_.erase(data);
  }
  // Nothing is unmapped meanwhile. With what lies around: the system maps up to a large page where one byte is looked
  // at, a part of which was given back already.
  void forget(const char* begin, size_t bytes) {
    constexpr uintptr_t kAround = 1 << 21;
    const std::lock_guard lock(mutex_);
    auto found = ends_.upper_bound(begin);
    if (found == ends_.begin() || begin >= (--found)->second) return;
    const auto from = reinterpret_cast<uintptr_t>(begin) / kAround * kAround;
    const auto to = (reinterpret_cast<uintptr_t>(begin) + bytes + kAround - 1) / kAround * kAround;
    const auto first = std::max(from, reinterpret_cast<uintptr_t>(found->first));
    const auto last = std::min(to, reinterpret_cast<uintptr_t>(found->second));
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

 private:
  std::mutex mutex_;
  std::map<const char*, const char*> ends_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about = {};
  if (file < 0 || fstat(file, &about) != 0) {
    const std::string why = std::strerror(errno);
    if (file >= 0) ::close(file);
    throw ModelError(path + ": " + why);
  }
  size_ = static_cast<size_t>(about.st_size);
  void* const mapped = size_ == 0 ? nullptr : mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  const int error = errno;
  ::close(file);
  if (mapped == MAP_FAILED) throw ModelError(path + ": " + std::strerror(error));
  data_ = static_cast<const char*>(mapped);
  if (data_ != nullptr) Mappings::all().add(data_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  Mappings::all().remove(data_);
  munmap(const_cast<char*>(data_), size_);
}

void MappedFile::forget() const {
  if (data_ != nullptr) madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

void MappedFile::forget(const void* begin, size_t bytes) {
  Mappings::all().forget(static_cast<const char*>(begin), bytes);
}

}  // namespace predictor
