// Waiting requests in two bounded lanes, the batches that run, and the outcomes that nobody has fetched yet.
//
// Any thread may call anything. Workers block in take(); nobody else ever blocks. Outcomes are announced through an
// eventfd, one write for however many have gathered, so that an event loop wakes once for a whole batch.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "queue/batch_cost.h"
#include "queue/batch_policy.h"
#include "queue/bulk_pacer.h"
#include "queue/flows.h"
#include "queue/request.h"

namespace predictor {

struct QueueLimits {
  uint32_t queue_items = 4096;      // requests waiting, both lanes
  uint64_t queue_tokens = 1 << 20;  // tokens waiting, both lanes
  uint64_t queue_bytes = 1 << 28;   // bytes of what waits beside its tokens' numbers, both lanes
  double client_share = 1;          // of these three, what may wait of one flow, or of one owner
  uint32_t max_tokens = 4096;       // tokens in one request
  uint32_t hold = 0;  // form no batch until so many wait, then until none does: deterministic batches for tests
};

// too_many_bytes: an engine's own refusal, before the queue.
enum class Admission : int {
  accepted = 0,
  queue_full = 1,
  too_long = 2,
  deadline_passed = 3,
  draining = 4,
  too_many_bytes = 5,
  queue_tokens_full = 6,
  queue_bytes_full = 7,
  share_full = 8
};

// Whether there is room later.
inline bool is_full(Admission admission) {
  return admission == Admission::queue_full || admission == Admission::queue_tokens_full ||
         admission == Admission::queue_bytes_full || admission == Admission::share_full;
}

struct Submission {
  Admission admission;
  uint64_t id;  // of the request, when it was accepted
};

struct QueueStats {
  uint32_t waiting = 0;
  uint64_t waiting_tokens = 0;
  uint64_t waiting_bytes = 0;
  uint32_t running = 0;
  uint64_t accepted = 0;
  uint64_t completed = 0;
  uint64_t failed = 0;
  uint64_t overloaded = 0;
  uint64_t expired = 0;
  uint64_t cancelled = 0;
  uint64_t batches = 0;
  uint64_t batched_tokens = 0;  // tokens in batches, padding included
};

// Throws std::invalid_argument, naming the setting, when one is out of range.
void validate(const QueueLimits& limits, const PolicyConfig& policy);

class Queue {
 public:
  using Clock = std::function<Nanoseconds()>;

  // `capacity`: batches that can run at a time. Throws std::invalid_argument as validate() does.
  Queue(const QueueLimits& limits, const PolicyConfig& policy, uint32_t capacity, Clock clock = monotonic_now);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  static Nanoseconds monotonic_now();

  // Takes the request, or refuses and drops it. Wakes no worker: call wake() when all that came together has been
  // submitted, so that it can form one batch.
  Submission submit(RequestPtr request);
  void wake();

  // The next batch; blocks until there is one. Empty when the queue is closed. Hand it back with finish().
  Batch take();
  // The same without blocking: empty when no batch can be formed now.
  Batch try_take();
  // The same for a caller who runs the batch himself: only a request that waits alone while no batch runs, and that
  // `is_quick` agrees to.
  Batch try_take_inline(const std::function<bool(const Request&)>& is_quick);
  // Ends a batch whose requests carry their outcome.
  void finish(Batch batch);

  // Takes a request out, waiting or running, and gives its tag back; nullptr when there is none of this id any more.
  void* cancel(uint64_t id);
  // Answers every request whose deadline has passed, waiting or running, but those that keep their work. Cheap when
  // none has.
  void sweep();
  // Outcomes since the last call, in the order in which they came about.
  Batch completions();
  // Makes the event loop wake up for something besides outcomes that it fetches with them.
  void announce_more();
  int event_fd() const { return event_fd_; }

  // Refuses what comes from now on; what waits is still run, without holding or delay.
  void drain();
  // Also answers all that waits or runs with UNAVAILABLE, and lets the workers go.
  void close();

  QueueStats stats() const;
  const QueueLimits& limits() const { return limits_; }
  const PolicyConfig& policy() const { return policy_.config(); }

 private:
  struct Running {  // a batch in a worker's hands; `requests` point into it
    std::vector<Request*> requests;
    const RequestPtr* key;  // the batch's buffer, by which finish() finds it
    uint64_t tokens = 0;    // padding included
    Nanoseconds started = 0;
  };

  struct Place {  // of a waiting request; a lane has them by their turns, and those of one turn by their ids
    double turn;
    uint64_t id;
    RequestPtr request;
  };
  using Places = std::deque<Place>;

  LaneView view(Lane lane) const;
  Places& lane(Lane lane) { return lanes_[static_cast<size_t>(lane)]; }
  const Places& lane(Lane lane) const { return lanes_[static_cast<size_t>(lane)]; }
  Admission room_for(const Request& request);
  void enter(RequestPtr request, Nanoseconds now);
  Nanoseconds ready_at(Nanoseconds now) const;
  bool may_run_bulk(Nanoseconds now) const;
  Batch form_batch(Nanoseconds now);
  std::vector<size_t> candidates(Lane lane, Nanoseconds now);
  Portion portion_of_greedy(Lane lane, const Portion& portion) const;
  Batch pull(Lane lane, const std::vector<size_t>& indices);
  void expire(Nanoseconds now);
  void expire_waiting(RequestPtr request, Nanoseconds now);
  void expire_running(Request& request);
  void abandon(Request& request, Status status, const char* message);
  void drop_waiting(Request& request, Nanoseconds now);
  void forget_waiting(Request& request);
  void complete(RequestPtr request);
  void announce();
  void wake_loop();

  const QueueLimits limits_;
  const Clock clock_;
  const int event_fd_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  BatchPolicy policy_;
  BulkPacer pacer_;
  Flows flows_;
  BatchCost cost_;
  Places lanes_[kLanes];
  std::list<Running> running_;
  Batch completions_;
  bool announced_ = false;
  bool held_;
  bool draining_ = false;
  bool closed_ = false;
  uint32_t idle_workers_ = 0;
  uint64_t last_id_ = 0;
  Nanoseconds next_deadline_ = kNever;  // no deadline lies before this
  QueueStats stats_;
};

}  // namespace predictor
