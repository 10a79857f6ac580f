// Outcomes of many requests, for one who waits for all of them: past the queue's own list and the event loop.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "queue/request.h"

namespace predictor {

class Collector {
 public:
  // For `count` requests; each gets a place from 0 on.
  explicit Collector(size_t count) : outcomes_(count), missing_(count) {}

  // The outcome for the request's place; the first one counts. Any thread.
  void add(RequestPtr request) {
    std::lock_guard lock(mutex_);
    RequestPtr& outcome = outcomes_[request->place];
    if (outcome) return;
    outcome = std::move(request);
    if (--missing_ == 0) all_there_.notify_all();
  }

  // Whether all outcomes are there, or came within the time.
  bool wait(std::chrono::nanoseconds time) {
    std::unique_lock lock(mutex_);
    return all_there_.wait_for(lock, time, [this] { return missing_ == 0; });
  }

  // By place; only after wait() has said that all are there.
  const std::vector<RequestPtr>& outcomes() const { return outcomes_; }

 private:
  std::mutex mutex_;
  std::condition_variable all_there_;
  std::vector<RequestPtr> outcomes_;
  size_t missing_;
};

}  // namespace predictor
