#include "kernels/packed_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "check.h"

namespace predictor::tests {

namespace {

constexpr size_t kPage = size_t{1} << 21;
constexpr size_t kSmall = 300'000;

// Bytes that are in memory, of a range within what is mapped.
size_t resident(const char* begin, const char* end) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(begin) / page * page;
  std::vector<unsigned char> pages((reinterpret_cast<uintptr_t>(end) - first + page - 1) / page);
  check(mincore(reinterpret_cast<void*>(first), pages.size() * page, pages.data()) == 0, "the range is mapped");
  return page * static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char held) { return held & 1; }));
}

kernels::PackedMemory filled(size_t bytes, char value) {
  kernels::PackedMemory memory(bytes);
  check(std::all_of(memory.data(), memory.data() + bytes, [](char byte) { return byte == 0; }), "memory is zeros");
  std::fill_n(memory.data(), bytes, value);
  return memory;
}

}  // namespace

// Models come and go while one stays.
void test_packed_memory() {
  const kernels::PackedMemory stays = filled(kSmall, 1);
  const char* end = stays.data() + kSmall;
  for (int i = 0; i < 60; ++i) end = filled(kSmall, 2).data() + kSmall;
  check(resident(stays.data(), end) <= 2 * kPage, "small pieces that are gone are not in memory");
  for (int i = 0; i < 2; ++i) end = filled(3 * kPage, 3).data() + 3 * kPage;
  check(resident(stays.data(), end) <= 2 * kPage, "large pieces that are gone are not in memory");
  check(std::all_of(stays.data(), stays.data() + kSmall, [](char byte) { return byte == 1; }),
        "what stays is as it was");
}

}  // namespace predictor::tests
