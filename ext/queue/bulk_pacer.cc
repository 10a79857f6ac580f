#include "queue/bulk_pacer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace predictor {

namespace {

constexpr Nanoseconds kInUse =
    20'000'000;  // after its last request has interactive_finished the interactive lane counts as in use

}  // namespace

BulkPacer::BulkPacer(uint32_t capacity, double share)
    : bulk_places_(capacity * share),
      guaranteed_places_(static_cast<uint32_t>(std::floor(bulk_places_))),
      max_places_(static_cast<uint32_t>(std::ceil(bulk_places_))) {
  if (capacity < 1) throw std::invalid_argument("capacity must be at least 1");
}

void BulkPacer::interactive_submitted(Nanoseconds now) {
  advance(now);
  ++interactive_;
}

void BulkPacer::interactive_finished(Nanoseconds now, uint32_t count) {
  advance(now);
  interactive_ -= count;
  silent_from_ = now + kInUse;
}

void BulkPacer::bulk_started(Nanoseconds now) {
  advance(now);
  ++running_;
}

void BulkPacer::bulk_finished(Nanoseconds now) {
  advance(now);
  --running_;
}

Nanoseconds BulkPacer::bulk_ready_at(Nanoseconds now) const {
  const Nanoseconds until = in_use_until(now);
  if (until <= now || running_ < guaranteed_places_) return now;
  if (running_ >= max_places_) return until;
  const double paid_after = debt(now) / (bulk_places_ - running_);
  return now + static_cast<Nanoseconds>(std::min(paid_after, static_cast<double>(until - now)));
}

// At the earliest: the last one there may leave now.
Nanoseconds BulkPacer::in_use_until(Nanoseconds now) const {
  return interactive_ > 0 ? now + kInUse : silent_from_;
}

// Batches beyond max_places_ bulk_started when the lane was not in use: those to come need not pay for them.
double BulkPacer::debt(Nanoseconds now) const {
  if (in_use_until(now) <= now) return 0;
  const auto elapsed = static_cast<double>(std::max<Nanoseconds>(now - since_, 0));  // threads read the clock in turns
  return std::max(0.0, debt_ + (std::min(running_, max_places_) - bulk_places_) * elapsed);
}

void BulkPacer::advance(Nanoseconds now) {
  debt_ = debt(now);
  since_ = std::max(since_, now);
}

}  // namespace predictor
