#include "queue/inline_runner.h"

#include <utility>

namespace predictor {

bool InlineRunner::wake(const std::function<bool(const Request&)>& is_quick) {
  Batch batch = queue_.try_take_inline(is_quick);
  if (batch.empty()) {
    queue_.wake();
    return false;
  }
  if (thread_ != std::this_thread::get_id()) {
    executor_->begin();
    thread_ = std::this_thread::get_id();
  }
  Request* const request = batch[0].get();
  run_bisecting(*executor_, {&request, 1});
  queue_.finish(std::move(batch));
  return true;
}

}  // namespace predictor
