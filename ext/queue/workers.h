// Threads that take batches from a queue and run them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include "queue/queue.h"

namespace predictor {

inline constexpr uint32_t kMaxReplicas = 256;

// Runs batches; one for each worker, used by that worker's thread only.
class Executor {
 public:
  virtual ~Executor() = default;
  // Called first, in the worker's thread.
  virtual void begin() {}
  // Gives every request its result, or throws: then no result of this batch counts.
  virtual void run(std::span<Request* const> batch) = 0;
};

// The input of one request is at fault, not the model or we.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs a batch so that one bad request fails alone: a batch that throws is halved and each half is run again.
void run_bisecting(Executor& executor, std::span<Request* const> batch);

class Workers {
 public:
  // Starts a thread for each executor.
  Workers(Queue& queue, std::vector<std::unique_ptr<Executor>> executors);
  // Closes the queue and waits for the running batches.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

 private:
  void stop();

  Queue& queue_;
  std::vector<std::unique_ptr<Executor>> executors_;
  std::vector<std::thread> threads_;
};

}  // namespace predictor
