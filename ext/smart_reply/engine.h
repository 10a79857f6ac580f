// Smart Reply with its queue and its workers: messages in, replies out, no GIL anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "queue/inline_runner.h"
#include "queue/queue.h"
#include "queue/workers.h"
#include "smart_reply/model.h"

namespace predictor::smart_reply {

// Which of a message's replies to return.
struct ReplyFilter {
  std::optional<uint32_t> most;     // so many, the best
  std::optional<double> threshold;  // with no lower score
};

struct ReplyRequest : Request {
  std::vector<std::string> messages;  // UTF-8, answered together
  ReplyFilter reply_filter;
  Replies replies;
};

class SmartReplyEngine {
 public:
  // So many workers share the model. A request that is alone and takes no longer than `inline_us` microseconds, as
  // measured here, is run by the caller of wake(). Throws std::invalid_argument, naming the setting, when one is out of
  // range.
  SmartReplyEngine(std::shared_ptr<const Model> model, uint32_t workers, uint32_t inline_us, const QueueLimits& limits,
                   const PolicyConfig& policy);

  Submission submit(std::unique_ptr<ReplyRequest> request);
  // See InlineRunner.
  bool wake();

  Queue& queue() { return queue_; }

 private:
  const std::shared_ptr<const Model> model_;  // what requests that were answered refer to
  Queue queue_;
  size_t quick_bytes_;
  InlineRunner inline_runner_;
  Workers workers_;  // last: it ends first
};

}  // namespace predictor::smart_reply
