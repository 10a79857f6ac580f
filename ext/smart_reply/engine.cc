#include "smart_reply/engine.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace predictor::smart_reply {

namespace {

constexpr size_t kShortestProbe = 16;
constexpr size_t kLongestProbe = 1 << 14;
constexpr int kTimedRuns = 3;

class ReplyExecutor : public Executor {
 public:
  explicit ReplyExecutor(const Model& model) : model_(model) {}

  void run(std::span<Request* const> batch) override {
    for (Request* request : batch) answer(static_cast<ReplyRequest&>(*request));
  }

 private:
  void answer(ReplyRequest& request) {
    request.replies = model_.replies(request.messages, scratch_);
    if (const auto& threshold = request.reply_filter.threshold) {
      std::erase_if(request.replies, [&](const Reply& reply) { return reply.score < *threshold; });
    }
    if (const auto& most = request.reply_filter.most; most && request.replies.size() > *most) {
      request.replies.resize(*most);
    }
  }

  const Model& model_;
  Model::Scratch scratch_;
};

// Text that costs most for its length: words that are segments.
std::string probe(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "no. ";
  return text;
}

Nanoseconds time_of(const Model& model, const std::string& message, Model::Scratch& scratch) {
  const Nanoseconds begin = Queue::monotonic_now();
  model.replies({&message, 1}, scratch);
  return Queue::monotonic_now() - begin;
}

// The longest message, in bytes, that takes no longer than `time` whatever it says; 0 for none.
size_t longest_within(const Model& model, Nanoseconds time) {
  Model::Scratch scratch;
  size_t longest = 0;
  for (size_t bytes = kShortestProbe; bytes <= kLongestProbe; bytes *= 2) {
    const std::string message = probe(bytes);
    Nanoseconds best = kNever;
    for (int i = 0; i < kTimedRuns; ++i) best = std::min(best, time_of(model, message, scratch));
    if (best > time) break;
    longest = bytes;
  }
  return longest;
}

uint32_t checked(uint32_t workers) {
  if (workers == 0) throw std::invalid_argument("there must be at least one worker");
  return workers;
}

std::vector<std::unique_ptr<Executor>> executors(const Model& model, uint32_t workers) {
  std::vector<std::unique_ptr<Executor>> made;
  for (uint32_t i = 0; i < workers; ++i) made.push_back(std::make_unique<ReplyExecutor>(model));
  return made;
}

}  // namespace

SmartReplyEngine::SmartReplyEngine(std::shared_ptr<const Model> model, uint32_t workers, uint32_t inline_us,
                                   const QueueLimits& limits, const PolicyConfig& policy)
    : model_(std::move(model)),
      queue_(limits, policy, checked(workers)),
      quick_bytes_(longest_within(*model_, Nanoseconds{inline_us} * 1000)),
      inline_runner_(queue_, std::make_unique<ReplyExecutor>(*model_)),
      workers_(queue_, executors(*model_, workers)) {}

Submission SmartReplyEngine::submit(std::unique_ptr<ReplyRequest> request) {
  for (const std::string& message : request->messages) request->bytes += message.size() + 1;
  return queue_.submit(std::move(request));
}

bool SmartReplyEngine::wake() {
  return inline_runner_.wake(
      [this](const Request& request) { return static_cast<const ReplyRequest&>(request).bytes <= quick_bytes_; });
}

}  // namespace predictor::smart_reply
