#include "kernels/packed_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>

namespace predictor::kernels {

namespace {

constexpr size_t kPage = size_t{1} << 21;
constexpr size_t kChunk = size_t{1} << 25;
constexpr size_t kAlignment = 64;

size_t rounded_up(size_t count, size_t unit) {
  return (count + unit - 1) / unit * unit;
}

// What pieces are cut from, one after the other; the system gets it back when the last of them is gone.
class Chunk {
 public:
  explicit Chunk(size_t size) : mapped_(size + kPage), size_(size) {
    void* const memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    begin_ = memory_ + (kPage - reinterpret_cast<uintptr_t>(memory) % kPage) % kPage;
#ifdef MADV_HUGEPAGE
    madvise(begin_, size_, MADV_HUGEPAGE);  // where there are none it is refused, and nothing is lost
#endif
  }
  ~Chunk() { munmap(memory_, mapped_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  // Null where there is not as much left.
  char* take(size_t bytes) {
    if (bytes > size_ - used_) return nullptr;
    char* const piece = begin_ + used_;
    used_ += bytes;
    return piece;
  }

  // The whole pages of a piece that is gone, though others are not.
  static void give_back(char* piece, size_t bytes) {
    const auto begin = rounded_up(reinterpret_cast<uintptr_t>(piece), kPage);
    const auto end = (reinterpret_cast<uintptr_t>(piece) + bytes) / kPage * kPage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  const size_t mapped_;
  const size_t size_;
  size_t used_ = 0;
  char* memory_;
  char* begin_;
};

}  // namespace

PackedMemory::PackedMemory(size_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Chunk> newest;
  const size_t size = rounded_up(bytes, kAlignment);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Chunk> chunk = newest.lock();
  char* piece = chunk ? chunk->take(size) : nullptr;
  if (piece == nullptr) {
    chunk = std::make_shared<Chunk>(std::max(kChunk, rounded_up(size, kPage)));
    piece = chunk->take(size);
    newest = chunk;
  }
  memory_ = std::shared_ptr<char>(piece, [chunk, size](char* gone) { Chunk::give_back(gone, size); });
}

}  // namespace predictor::kernels
