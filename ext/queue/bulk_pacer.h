// When the next bulk batch may begin: pure decisions from the events and times that the caller gives, nothing else.
//
// Two rules share the places in which batches run (workers, or a generator's slots) between the lanes:
// - This one bounds bulk, in time. While the interactive lane is in use, bulk batches hold `share` of the places: the
//   whole ones all the time, and what is interactive_finished, a fraction of one, by turns. Also when nobody else waits
//   just then: the rest is the room in which others get their answers at once. How long a batch will take need not be
//   known.
// - BatchPolicy::choose_lane divides a queue that does not empty, in tokens: where both lanes wait for a place and this
//   rule lets bulk have it, the lane goes first that has had less for its share.
// Once the interactive lane has fallen silent, neither holds anything back.
#pragma once

#include <cstdint>

#include "queue/request.h"

namespace predictor {

class BulkPacer {
 public:
  // `capacity`: batches that can run at a time. `share` of it lies between 0 and 1, as BatchPolicy asks.
  // Throws std::invalid_argument when there is no place at all.
  BulkPacer(uint32_t capacity, double share);

  // An interactive request, from its submission to its end. The lane is in use while one is there, and for 20 ms after:
  // who got an answer may ask again.
  void interactive_submitted(Nanoseconds now);
  void interactive_finished(Nanoseconds now, uint32_t count);
  // A bulk batch.
  void bulk_started(Nanoseconds now);
  void bulk_finished(Nanoseconds now);

  // When a bulk batch may begin: `now`, or a time to ask again, 20 ms later at most.
  Nanoseconds bulk_ready_at(Nanoseconds now) const;

 private:
  Nanoseconds in_use_until(Nanoseconds now) const;
  double debt(Nanoseconds now) const;
  void advance(Nanoseconds now);

  const double bulk_places_;          // bulk's share of them
  const uint32_t guaranteed_places_;  // of these, the whole ones, which bulk may hold all the time
  const uint32_t max_places_;         // and those that it may hold at a time
  uint32_t interactive_ = 0;          // interactive requests
  uint32_t running_ = 0;              // bulk batches
  Nanoseconds silent_from_ = 0;       // with nobody present
  double debt_ = 0;                   // nanoseconds of one place that bulk has had beyond its share, as of since_
  Nanoseconds since_ = 0;
};

}  // namespace predictor
