// Which pages of the KV cache are whose: sequences share those of a common beginning, and what is left behind stays to
// be found again until its memory is needed (prefix cache).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/paged_attention.h"

namespace predictor {

class PagePool {
 public:
  static constexpr size_t kTokens = kernels::kPageTokens;  // of a page

  explicit PagePool(uint32_t pages);

  // A page for new tokens, held by the caller: a free one, or that of a remembered beginning which nobody holds and
  // which was used longest ago. None: all are held.
  std::optional<uint32_t> take();

  // Held once more, or once less.
  void hold(uint32_t page);
  void release(uint32_t page);
  // All of a sequence's.
  void release(std::span<const uint32_t> pages);

  // The pages of the longest known beginning of `tokens` in whole pages, now held by the caller too.
  std::vector<uint32_t> find(std::span<const uint32_t> tokens);

  // Lets others find the whole pages of `tokens`, from the page number `from` on, whose keys and values are computed
  // and do not change any more. `pages`: the sequence's, at least those. How many are remembered then, with the `from`
  // that were before.
  size_t remember(std::span<const uint32_t> tokens, std::span<const uint32_t> pages, size_t from);

  uint32_t pages() const { return static_cast<uint32_t>(states_.size()); }
  uint32_t held() const { return held_; }
  uint32_t available() const { return pages() - held_; }

 private:
  // A page is known by its tokens and by all before them, for which the page before it stands.
  struct Key {
    uint64_t before;  // serial of the page before; 0: none
    std::array<uint32_t, kTokens> tokens;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct State {
    uint32_t holders = 0;
    uint64_t serial = 0;  // of what is remembered of it; 0: nothing
    Key key{};
    std::list<uint32_t>::iterator idle{};  // its place there, while it is remembered and nobody holds it
  };

  static Key key_of(std::span<const uint32_t> tokens, size_t page, uint64_t before);
  void forget(uint32_t page);

  std::vector<State> states_;
  std::vector<uint32_t> free_;
  std::list<uint32_t> idle_;  // remembered and held by nobody, the one used longest ago first
  std::unordered_map<Key, uint32_t, Hash> known_;
  uint64_t last_serial_ = 0;
  uint32_t held_ = 0;
};

}  // namespace predictor
