// Whose the waiting requests are: whose turn it is in a lane, and who fills more than a share of the queue.
//
// A flow is a client's connection, say. The upper half of its number says who is behind it, where that is known: an
// owner, such as a token. Requests without a flow are one flow of their own.
//
// Turns are start-time fair queueing (Goyal, Vin and Cheng, 1996): a request's turn is the lane's time, or the end of
// the flow's request before it where that is later; it ends after the request's tokens. The lane's time is the turn of
// what was taken last. So whoever asks now and then comes before the hundreds that another has waiting, and of two that
// have many waiting each gets half.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>

#include "queue/request.h"

namespace predictor {

// What waits of a flow or an owner, in both lanes.
struct Account {
  uint32_t waiting = 0;
  uint64_t tokens = 0;

  bool has_room(uint32_t more_tokens, double most_waiting, double most_tokens) const {
    // One may always wait: a share of a small queue may be less.
    return waiting == 0 || (waiting + 1 <= most_waiting && static_cast<double>(tokens + more_tokens) <= most_tokens);
  }
  void enter(const Request& request) {
    ++waiting;
    tokens += request.tokens;
  }
  void leave(const Request& request) {
    --waiting;
    tokens -= request.tokens;
  }
};

struct Flow : Account {
  double ends[kLanes] = {0, 0};             // of its last request's turn
  uint32_t in_progress[kLanes] = {0, 0};    // its requests that wait or run
  int64_t left[kLanes] = {kNever, kNever};  // the period in which the last of them ended, where there is none now
  uint64_t batch = 0;                       // in which it has had ...
  uint32_t batch_items = 0;                 // ... so many requests
  uint64_t batch_tokens = 0;
};

// What one flow may have of one batch.
struct Portion {
  uint32_t items = std::numeric_limits<uint32_t>::max();
  uint64_t tokens = std::numeric_limits<uint64_t>::max();

  bool is_all() const { return items == std::numeric_limits<uint32_t>::max(); }
};

class Flows {
 public:
  // The flow's account, to be kept in the request between enter() and leave(), and not longer.
  Flow& of(uint64_t flow) {
    if (flows_.size() >= prune_at_) prune();
    return flows_[flow];
  }
  // That of whoever is behind the flow; nullptr where that is not known.
  Account* owner_of(uint64_t flow) {
    const auto owner = static_cast<uint32_t>(flow >> 32);
    return owner == 0 ? nullptr : &owners_[owner];
  }

  // The turn of a request that comes now.
  double enter(Flow& flow, const Request& request, Nanoseconds now) {
    const size_t lane = index(request.lane);
    if (flow.in_progress[lane]++ == 0) lanes_[lane].come(flow.left[lane], now >> kPeriodBits);
    if (flow.in_progress[lane] == kFew + 1) ++lanes_[lane].greedy;
    double& end = flow.ends[lane];
    const double turn = std::max(lanes_[lane].time, end);
    end = turn + request.tokens;
    return turn;
  }
  // The request has been answered, or needs no answer any more.
  void leave(Flow& flow, const Request& request, Nanoseconds now) {
    const size_t lane = index(request.lane);
    if (flow.in_progress[lane] == kFew + 1) --lanes_[lane].greedy;
    if (--flow.in_progress[lane] > 0) return;
    flow.left[lane] = lanes_[lane].go(now >> kPeriodBits);
  }
  // A batch is formed: the turn of its first request, and its tokens. Of these the time moves by a flow's part at
  // least, or flows that are always new would keep back for ever what has asked before.
  void taken(Lane lane, double turn, uint64_t tokens) {
    LaneTime& of_lane = lanes_[index(lane)];
    const double part = static_cast<double>(tokens) / (1 + of_lane.in_progress);
    of_lane.time = std::max(of_lane.time + part, turn);
  }

  // How much of a batch with these limits one flow may have, beside those that have requests in progress or were
  // answered in the last 17 to 34 ms: who got an answer may ask again, and is not to wait for a whole batch of
  // another's. At least an eighth, so that batches stay worth their while.
  Portion portion(Lane lane, Nanoseconds now, uint32_t items, uint32_t tokens) {
    LaneTime& of_lane = lanes_[index(lane)];
    of_lane.turn_to(now >> kPeriodBits);
    const uint32_t parts = std::min(of_lane.present(), kMostParts);
    if (parts <= 1) return {};
    return {std::max(1u, items / parts), std::max(1u, tokens / parts)};
  }
  // Whether the flow has more in progress than who waits for one answer and then the next.
  static bool is_greedy(const Flow& flow, Lane lane) { return flow.in_progress[index(lane)] > kFew; }
  // How many of those present do, and how many do not.
  uint32_t greedy(Lane lane) const { return lanes_[index(lane)].greedy; }
  uint32_t others(Lane lane) const { return lanes_[index(lane)].present() - greedy(lane); }

  // Whether the flow may have this request in the batch of this number, beside what it has there. Its first it may.
  static bool take_part(Flow& flow, uint64_t batch, uint32_t tokens, const Portion& portion) {
    if (flow.batch != batch) {
      flow.batch = batch;
      flow.batch_items = 0;
      flow.batch_tokens = 0;
    } else if (flow.batch_items + 1 > portion.items || flow.batch_tokens + tokens > portion.tokens) {
      return false;
    }
    ++flow.batch_items;
    flow.batch_tokens += tokens;
    return true;
  }

 private:
  static constexpr int kPeriodBits = 24;  // of nanoseconds: 17 ms
  static constexpr uint32_t kMostParts = 8;
  static constexpr uint32_t kFew = 4;  // requests in progress
  static constexpr size_t kLeastPruned = 256;

  struct LaneTime {
    double time = 0;
    int64_t period = 0;
    uint32_t in_progress = 0;  // flows that have requests in progress
    uint32_t greedy = 0;       // and of these, who have more than a few
    uint32_t left = 0;         // flows that have none since this period
    uint32_t left_before = 0;  // and since the one before

    uint32_t present() const { return in_progress + left + left_before; }
    void turn_to(int64_t now) {
      if (now <= period) return;
      left_before = now == period + 1 ? left : 0;
      left = 0;
      period = now;
    }
    void come(int64_t left_in, int64_t now) {
      turn_to(now);
      if (left_in == period) --left;
      if (left_in == period - 1) --left_before;
      ++in_progress;
    }
    int64_t go(int64_t now) {
      turn_to(now);
      --in_progress;
      ++left;
      return period;
    }
  };

  static size_t index(Lane lane) { return static_cast<size_t>(lane); }

  // Forgets those of whom nothing is in progress, and who would start level with the others: their number has no end.
  void prune() {
    std::erase_if(flows_, [this](const auto& entry) {
      const Flow& flow = entry.second;
      return flow.in_progress[0] + flow.in_progress[1] == 0 && flow.ends[0] <= lanes_[0].time &&
             flow.ends[1] <= lanes_[1].time;
    });
    std::erase_if(owners_, [](const auto& entry) { return entry.second.waiting == 0; });
    prune_at_ = std::max(kLeastPruned, 2 * flows_.size());
  }

  std::unordered_map<uint64_t, Flow> flows_;
  std::unordered_map<uint32_t, Account> owners_;
  LaneTime lanes_[kLanes];
  size_t prune_at_ = kLeastPruned;
};

}  // namespace predictor
