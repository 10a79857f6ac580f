#include "queue/inline_runner.h"

#include <utility>

namespace predictor {

bool InlineRunner::wake(const std::function<bool(const Request&)>& is_quick) {
  Batch batch = queue_.try_take_lone(is_quick);
  if (batch.empty()) {
    queue_.wake();
    return false;
  }
  if (begun_on_ != std::this_thread::get_id()) {
    executor_->begin();
    begun_on_ = std::this_thread::get_id();
  }
  Request* const request = batch[0].get();
  run_bisecting(*executor_, {&request, 1});
  queue_.finish(std::move(batch));
  return true;
}

}  // namespace predictor
