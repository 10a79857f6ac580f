// Which of the waiting requests form the next batch: pure decisions, no clock, no threads, no memory of requests.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "queue/request.h"

namespace predictor {

inline constexpr uint32_t kMaxItems = 1 << 16;
inline constexpr uint32_t kMaxTokens = 1 << 24;
inline constexpr Nanoseconds kMaxDelay = 60'000'000'000;

struct PolicyConfig {
  uint32_t batch_items = 64;      // requests in a batch, at most
  uint32_t batch_tokens = 16384;  // tokens in a batch, padding included, at most; a longer request runs alone
  uint32_t bulk_items = 32;       // the same for a batch of the bulk lane: the other lane waits while it runs
  uint32_t look_ahead = 256;      // waiting requests of a lane that are looked at for one batch
  Nanoseconds max_delay = 0;      // how long the oldest request may wait for company while a worker is free
  double bulk_share = 0.25;       // share that bulk gets while the other lane is in use: see bulk_pacer.h
  double max_padding = 0.5;       // share of a batch's tokens that may be padding ...
  uint32_t free_padding = 256;    // ... beyond this many tokens of it, which cost less than a batch of their own
  bool equal_lengths = false;     // only requests of the same number of tokens share a batch
  bool pads = true;               // false: a batch costs the tokens of its requests, whatever their lengths
};

// What the policy sees of a waiting request.
struct Waiting {
  uint32_t tokens;
  Nanoseconds enqueued;
};

// What waits in a lane: how many in all, and the oldest of them.
struct LaneView {
  size_t waiting = 0;
  Nanoseconds oldest = kNever;
};

class BatchPolicy {
 public:
  // Throws std::invalid_argument, naming the setting, when one is out of range.
  explicit BatchPolicy(const PolicyConfig& config) : config_(config) {
    require(config.batch_items >= 1 && config.batch_items <= kMaxItems, "batch_items must be 1 to 65536");
    require(config.batch_tokens >= 1 && config.batch_tokens <= kMaxTokens, "batch_tokens must be 1 to 16777216");
    require(config.bulk_items >= 1 && config.bulk_items <= kMaxItems, "bulk_items must be 1 to 65536");
    require(config.look_ahead >= 1 && config.look_ahead <= kMaxItems, "look_ahead must be 1 to 65536");
    require(config.max_delay >= 0 && config.max_delay <= kMaxDelay, "max_delay_ms must be 0 to 60000");
    require(config.bulk_share > 0 && config.bulk_share < 1, "bulk_share must lie between 0 and 1");
    require(config.max_padding >= 0 && config.max_padding < 1, "max_padding must be at least 0 and below 1");
  }

  const PolicyConfig& config() const { return config_; }

  // When a free worker may form a batch: a time that has come (now or before), one to wait for, or kNever.
  Nanoseconds ready_at(const LaneView& interactive, const LaneView& bulk) const {
    const size_t waiting = interactive.waiting + bulk.waiting;
    if (waiting == 0) return kNever;
    const Nanoseconds oldest = std::min(interactive.oldest, bulk.oldest);
    return waiting >= config_.batch_items ? oldest : oldest + config_.max_delay;
  }

  // The lane that the next batch comes from. Stride scheduling: each lane has run so much work, divided by its share;
  // the lane that is behind goes first. A lane that was empty, or held back by BulkPacer, starts level with the other:
  // it saves nothing up.
  Lane choose_lane(bool interactive_waiting, bool bulk_waiting) {
    if (!bulk_waiting) {
      pass_[index(Lane::bulk)] = std::max(pass_[index(Lane::bulk)], pass_[index(Lane::interactive)]);
      return Lane::interactive;
    }
    if (!interactive_waiting) {
      pass_[index(Lane::interactive)] = std::max(pass_[index(Lane::interactive)], pass_[index(Lane::bulk)]);
      return Lane::bulk;
    }
    return pass_[index(Lane::bulk)] < pass_[index(Lane::interactive)] ? Lane::bulk : Lane::interactive;
  }

  // Accounts for a batch of `lane` that cost so many tokens, padding included, at least 1.
  void charge(Lane lane, uint64_t tokens) {
    const double share = lane == Lane::bulk ? config_.bulk_share : 1 - config_.bulk_share;
    pass_[index(lane)] += static_cast<double>(tokens) / share;
  }

  // Indices, ascending, of the requests that form a batch, out of `window`, the lane's oldest requests in their order.
  // The first is always among them: nobody starves. It is joined by those nearest to it in length, older ones first
  // among equals, as long as the budgets hold and padding stays small.
  std::vector<size_t> fill(std::span<const Waiting> window, Lane lane = Lane::interactive) const {
    std::vector<size_t> batch;
    if (window.empty()) return batch;
    window = window.first(std::min<size_t>(window.size(), config_.look_ahead));
    const uint32_t most = lane == Lane::bulk ? std::min(config_.bulk_items, config_.batch_items) : config_.batch_items;
    const uint32_t anchor = window[0].tokens;
    std::vector<size_t> candidates = nearest_first(window);
    uint64_t longest = anchor;
    uint64_t real = anchor;
    batch.push_back(0);
    for (size_t candidate : candidates) {
      if (batch.size() >= most) break;
      const uint64_t tokens = window[candidate].tokens;
      if (!fits(batch.size() + 1, std::max(longest, tokens), real + tokens)) continue;
      longest = std::max(longest, tokens);
      real += tokens;
      batch.push_back(candidate);
    }
    std::sort(batch.begin(), batch.end());
    return batch;
  }

 private:
  static void require(bool in_range, const char* message) {
    if (!in_range) throw std::invalid_argument(message);
  }

  static size_t index(Lane lane) { return static_cast<size_t>(lane); }

  std::vector<size_t> nearest_first(std::span<const Waiting> window) const {
    const int64_t anchor = window[0].tokens;
    std::vector<size_t> candidates;
    candidates.reserve(window.size());
    for (size_t i = 1; i < window.size(); ++i) {
      if (!config_.equal_lengths || window[i].tokens == anchor) candidates.push_back(i);
    }
    const auto distance = [&](size_t i) { return std::abs(static_cast<int64_t>(window[i].tokens) - anchor); };
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](size_t a, size_t b) { return distance(a) < distance(b); });
    return candidates;
  }

  bool fits(uint64_t items, uint64_t longest, uint64_t real) const {
    if (!config_.pads) return real <= config_.batch_tokens;
    const uint64_t padded = items * longest;
    if (padded > config_.batch_tokens) return false;
    const uint64_t padding = padded - real;
    return padding <= config_.free_padding ||
           static_cast<double>(padding) <= config_.max_padding * static_cast<double>(padded);
  }

  PolicyConfig config_;
  double pass_[kLanes] = {0, 0};
};

}  // namespace predictor
