#include "generator/page_pool.h"

#include <algorithm>

namespace predictor {

PagePool::PagePool(uint32_t pages) : states_(pages) {
  for (uint32_t page = pages; page-- > 0;) free_.push_back(page);
}

std::optional<uint32_t> PagePool::take() {
  if (free_.empty()) {
    if (idle_.empty()) return std::nullopt;
    const uint32_t oldest = idle_.front();
    idle_.pop_front();
    forget(oldest);
    free_.push_back(oldest);
  }
  const uint32_t page = free_.back();
  free_.pop_back();
  states_[page].holders = 1;
  ++held_;
  return page;
}

void PagePool::hold(uint32_t page) {
  State& state = states_[page];
  if (state.holders++ > 0) return;
  ++held_;
  idle_.erase(state.idle);
}

void PagePool::release(uint32_t page) {
  State& state = states_[page];
  if (--state.holders > 0) return;
  --held_;
  if (state.serial == 0) {
    free_.push_back(page);
  } else {
    state.idle = idle_.insert(idle_.end(), page);
  }
}

// The last one first: a beginning is found again only from its first page on, so that the others are given up before.
void PagePool::release(std::span<const uint32_t> pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) release(*page);
}

std::vector<uint32_t> PagePool::find(std::span<const uint32_t> tokens) {
  std::vector<uint32_t> found;
  uint64_t before = 0;
  for (size_t i = 0; (i + 1) * kTokens <= tokens.size(); ++i) {
    const auto known = known_.find(key_of(tokens, i, before));
    if (known == known_.end()) break;
    hold(known->second);
    found.push_back(known->second);
    before = states_[known->second].serial;
  }
  return found;
}

// Where another sequence has computed the same, its page stays the known one; what follows goes with either.
size_t PagePool::remember(std::span<const uint32_t> tokens, std::span<const uint32_t> pages, size_t from) {
  const size_t end = std::min(tokens.size() / kTokens, pages.size());
  if (from >= end) return from;
  uint64_t before = 0;
  if (from > 0) {
    const State& last = states_[pages[from - 1]];
    const auto known = known_.find(last.key);
    if (known == known_.end()) return from;  // a twin's, which has been given up
    before = states_[known->second].serial;
  }
  for (size_t i = from; i < end; ++i) {
    State& state = states_[pages[i]];
    state.key = key_of(tokens, i, before);
    const auto [known, is_new] = known_.try_emplace(state.key, pages[i]);
    if (is_new) state.serial = ++last_serial_;
    before = states_[known->second].serial;
  }
  return end;
}

PagePool::Key PagePool::key_of(std::span<const uint32_t> tokens, size_t page, uint64_t before) {
  Key key{before, {}};
  std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(page * kTokens), kTokens, key.tokens.begin());
  return key;
}

void PagePool::forget(uint32_t page) {
  State& state = states_[page];
  known_.erase(state.key);
  state.serial = 0;
}

// FNV-1a, word by word.
size_t PagePool::Hash::operator()(const Key& key) const {
  uint64_t hash = 0xcbf29ce484222325 ^ key.before;
  for (const uint32_t token : key.tokens) hash = (hash ^ token) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

}  // namespace predictor
