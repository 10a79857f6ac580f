// What waits in a queue: a request with its lane, size, deadline and, in the end, its outcome.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace predictor {

// Nanoseconds of the monotonic clock (CLOCK_MONOTONIC, the same as Python's time.monotonic_ns).
using Nanoseconds = int64_t;
inline constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();

enum class Lane : uint8_t { interactive = 0, bulk = 1 };
inline constexpr int kLanes = 2;

// The codes of the contract's ErrorCode, and 0 for a result.
enum class Status : uint8_t {
  ok = 0,
  invalid_argument = 1,
  too_large = 3,
  deadline_exceeded = 5,
  unavailable = 6,
  internal = 8,
};

class Collector;
struct Flow;
struct Account;

// One request. Engines derive from it and add what goes in and what comes out.
struct Request {
  virtual ~Request() = default;

  uint64_t id = 0;  // given by the queue, from 1
  Lane lane = Lane::interactive;
  uint32_t tokens = 1;  // what it costs in a batch, at least 1; the batch pads every request to its longest
  uint64_t bytes = 0;   // of memory that it holds beside its tokens' numbers
  uint64_t flow = 0;    // whose it is: see flows.h
  Nanoseconds enqueued = 0;
  Nanoseconds started = 0;   // when its batch was formed; 0: it did not run
  Nanoseconds finished = 0;  // when its batch had ended
  Nanoseconds deadline = kNever;
  void* tag = nullptr;  // the caller's own; travels through untouched
  // Where the outcome goes, and its place there; without one it goes to the queue's own list.
  std::shared_ptr<Collector> collector;
  size_t place = 0;

  // Where it is counted: while it waits or runs, and while it waits.
  Flow* flow_account = nullptr;
  Account* owner_account = nullptr;

  Status status = Status::ok;
  std::string message;                 // why status is not ok
  std::atomic<bool> abandoned{false};  // answered or cancelled while it ran: its outcome is dropped
  // It runs and has something to answer with when its deadline passes: its engine ends it then, and not the queue.
  std::atomic<bool> keeps_work{false};
};

using RequestPtr = std::unique_ptr<Request>;
using Batch = std::vector<RequestPtr>;

}  // namespace predictor
