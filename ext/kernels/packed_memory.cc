#include "kernels/packed_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace predictor::kernels {

namespace {

constexpr size_t kPage = size_t{1} << 21;
constexpr size_t kChunk = size_t{1} << 25;
constexpr size_t kAlignment = 64;

size_t rounded_up(size_t count, size_t unit) {
  return (count + unit - 1) / unit * unit;
}

// What pieces are cut from, one after the other, and what the last of them gives back to the system. Before that, a
// page goes back with the last of the pieces that it has: of models that are loaded again and again nothing adds up
// beside one that stays.
class Chunk {
 public:
  explicit Chunk(size_t size) : mapped_(size + kPage), size_(size), pieces_of_(size / kPage) {
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
    const std::lock_guard lock(mutex_);
    if (bytes > size_ - used_) return nullptr;
    char* const piece = begin_ + used_;
    for (size_t page = used_ / kPage; page * kPage < used_ + bytes; ++page) ++pieces_of_[page];
    used_ += bytes;
    return piece;
  }

  // What has been given back is zeros again: pieces that come later may begin in its last page.
  void give_back(const char* piece, size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto first = static_cast<size_t>(piece - begin_);
    for (size_t page = first / kPage; page * kPage < first + bytes; ++page) {
      if (--pieces_of_[page] == 0) madvise(begin_ + page * kPage, kPage, MADV_DONTNEED);
    }
  }

 private:
  const size_t mapped_;
  const size_t size_;
  std::mutex mutex_;
  std::vector<size_t> pieces_of_;  // how many pieces have bytes in each page
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
  memory_ = std::shared_ptr<char>(piece, [chunk, size](char* gone) { chunk->give_back(gone, size); });
}

}  // namespace predictor::kernels
