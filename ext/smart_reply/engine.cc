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
  explicit ReplyExecutor(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  void run(std::span<Request* const> batch) override {
    for (Request* request : batch) answer(static_cast<ReplyRequest&>(*request));
  }

 private:
  void answer(ReplyRequest& request) {
    request.replies = session_->replies({request.messages.begin(), request.messages.end()});
    if (const auto& threshold = request.reply_filter.threshold) {
      std::erase_if(request.replies, [&](const Reply& reply) { return reply.score < *threshold; });
    }
    if (const auto& most = request.reply_filter.most; most && request.replies.size() > *most) {
      request.replies.resize(*most);
    }
  }

  const std::shared_ptr<Session> session_;
};

// Text that costs most for its length: words that are segments.
std::string probe(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "no. ";
  return text;
}

Nanoseconds time_of(Session& session, const std::string& message) {
  const Nanoseconds begin = Queue::monotonic_now();
  session.replies({message});
  return Queue::monotonic_now() - begin;
}

// The longest message, in bytes, that takes no longer than `time` whatever it says; 0 for none.
size_t longest_within(Session& session, Nanoseconds time) {
  size_t longest = 0;
  for (size_t bytes = kShortestProbe; bytes <= kLongestProbe; bytes *= 2) {
    const std::string message = probe(bytes);
    Nanoseconds best = kNever;
    for (int i = 0; i < kTimedRuns; ++i) best = std::min(best, time_of(session, message));
    if (best > time) break;
    longest = bytes;
  }
  return longest;
}

const std::vector<std::shared_ptr<Session>>& checked(const std::vector<std::shared_ptr<Session>>& sessions) {
  if (sessions.empty()) throw std::invalid_argument("there must be a session for at least one worker");
  return sessions;
}

std::vector<std::unique_ptr<Executor>> executors(const std::vector<std::shared_ptr<Session>>& sessions) {
  std::vector<std::unique_ptr<Executor>> made;
  for (const auto& session : sessions) made.push_back(std::make_unique<ReplyExecutor>(session));
  return made;
}

}  // namespace

// The first worker's session serves lone requests too: they run while no batch does, and a session's callers take
// turns.
SmartReplyEngine::SmartReplyEngine(std::vector<std::shared_ptr<Session>> sessions, uint32_t inline_us,
                                   const QueueLimits& limits, const PolicyConfig& policy)
    : queue_(limits, policy, static_cast<uint32_t>(checked(sessions).size())),
      quick_bytes_(longest_within(*sessions[0], Nanoseconds{inline_us} * 1000)),
      inline_runner_(queue_, std::make_unique<ReplyExecutor>(sessions[0])),
      workers_(queue_, executors(sessions)) {}

Submission SmartReplyEngine::submit(std::unique_ptr<ReplyRequest> request) {
  for (const std::string& message : request->messages) request->bytes += message.size() + 1;
  return queue_.submit(std::move(request));
}

bool SmartReplyEngine::wake() {
  return inline_runner_.wake(
      [this](const Request& request) { return static_cast<const ReplyRequest&>(request).bytes <= quick_bytes_; });
}

}  // namespace predictor::smart_reply
