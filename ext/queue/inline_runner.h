// Runs a request that came alone on its submitter's own thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "queue/queue.h"
#include "queue/workers.h"

namespace predictor {

class InlineRunner {
 public:
  // The executor is used by the thread that calls wake(), and never when no request is quick.
  InlineRunner(Queue& queue, std::unique_ptr<Executor> executor) : queue_(queue), executor_(std::move(executor)) {}

  // Wakes a worker for what was submitted. A request that is alone and quick is run at once instead, on the calling
  // thread, which saves it two changes of threads, as long again as a quick model takes. Says whether it was.
  // Of one thread at a time.
  bool wake(const std::function<bool(const Request&)>& is_quick);

 private:
  Queue& queue_;
  const std::unique_ptr<Executor> executor_;
  std::optional<std::thread::id> thread_;
};

}  // namespace predictor
