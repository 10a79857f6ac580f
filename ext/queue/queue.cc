#include "queue/queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "queue/collector.h"

namespace predictor {

namespace {

int open_event_fd() {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

std::string waited(Nanoseconds since, Nanoseconds now) {
  return std::to_string((now - since + 500'000) / 1'000'000) + " ms";
}

}  // namespace

Nanoseconds Queue::monotonic_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void validate(const QueueLimits& limits, const PolicyConfig& policy) {
  const BatchPolicy checked(policy);
  if (limits.queue_items < 1) throw std::invalid_argument("queue_items must be at least 1");
  if (limits.max_tokens < 1 || limits.max_tokens > kMaxTokens) {
    throw std::invalid_argument("max_tokens must be 1 to 16777216");
  }
  if (limits.queue_tokens < limits.max_tokens) {  // a request in between would be told for ever to try again
    throw std::invalid_argument("queue_tokens must be at least max_tokens");
  }
  if (limits.hold > limits.queue_items) throw std::invalid_argument("hold must be at most queue_items");
}

Queue::Queue(const QueueLimits& limits, const PolicyConfig& policy, uint32_t capacity, Clock clock)
    : limits_((validate(limits, policy), limits)),
      clock_(std::move(clock)),
      event_fd_(open_event_fd()),
      policy_(policy),
      pacer_(capacity, policy.bulk_share),
      held_(limits.hold > 0) {}

Queue::~Queue() {
  ::close(event_fd_);
}

Submission Queue::submit(RequestPtr request) {
  const Nanoseconds now = clock_();
  request->tokens = std::max(request->tokens, 1u);  // a lane of requests that cost nothing would starve the other
  std::lock_guard lock(mutex_);
  if (draining_) return {Admission::draining, 0};
  if (request->tokens > limits_.max_tokens) return {Admission::too_long, 0};
  if (request->deadline <= now) {
    ++stats_.expired;
    return {Admission::deadline_passed, 0};
  }
  const bool has_room = stats_.waiting < limits_.queue_items;
  if (!has_room || stats_.waiting_tokens + request->tokens > limits_.queue_tokens) {
    ++stats_.overloaded;
    return {has_room ? Admission::queue_tokens_full : Admission::queue_full, 0};
  }
  const uint64_t id = request->id = ++last_id_;
  request->enqueued = now;
  next_deadline_ = std::min(next_deadline_, request->deadline);
  ++stats_.accepted;
  ++stats_.waiting;
  stats_.waiting_tokens += request->tokens;
  if (stats_.waiting >= limits_.hold) held_ = false;
  if (request->lane == Lane::interactive) pacer_.interactive_submitted(now);
  lane(request->lane).push_back(std::move(request));
  return {Admission::accepted, id};
}

void Queue::wake() {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    wake = idle_workers_ > 0 && stats_.waiting > 0;
  }
  if (wake) work_.notify_one();
}

Batch Queue::take() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    const Nanoseconds now = clock_();
    const Nanoseconds ready = ready_at(now);
    if (ready <= now) {
      Batch batch = form_batch(now);
      const bool more = stats_.waiting > 0 && idle_workers_ > 0;
      lock.unlock();
      if (more) work_.notify_one();
      if (!batch.empty()) return batch;
      lock.lock();  // all that waited had expired
      continue;
    }
    ++idle_workers_;
    if (ready == kNever) {
      work_.wait(lock);
    } else {
      work_.wait_for(lock, std::chrono::nanoseconds(ready - now));
    }
    --idle_workers_;
  }
  return {};
}

Batch Queue::try_take() {
  std::lock_guard lock(mutex_);
  const Nanoseconds now = clock_();
  if (closed_ || ready_at(now) > now) return {};
  return form_batch(now);
}

Batch Queue::try_take_inline(const std::function<bool(const Request&)>& is_quick) {
  std::lock_guard lock(mutex_);
  if (stats_.waiting != 1 || stats_.running > 0 || closed_) return {};
  const auto& only = lane(Lane::interactive).empty() ? lane(Lane::bulk).front() : lane(Lane::interactive).front();
  const Nanoseconds now = clock_();
  if (!is_quick(*only) || ready_at(now) > now) return {};
  return form_batch(now);
}

void Queue::finish(Batch batch) {
  const Nanoseconds now = clock_();
  std::lock_guard lock(mutex_);
  if (batch[0]->lane == Lane::bulk) {
    pacer_.bulk_finished(now);
  } else {
    pacer_.interactive_finished(now, static_cast<uint32_t>(batch.size()));
  }
  running_.remove_if([&](const Running& running) { return running.key == batch.data(); });
  stats_.running -= static_cast<uint32_t>(batch.size());
  for (RequestPtr& request : batch) {
    if (request->abandoned) continue;
    if (request->deadline <= now && !request->keeps_work) {
      expire_running(*request);
      continue;
    }
    ++(request->status == Status::ok ? stats_.completed : stats_.failed);
    request->finished = now;
    complete(std::move(request));
  }
  announce();
}

void* Queue::cancel(uint64_t id) {
  RequestPtr cancelled;  // destroyed after the lock is gone: its payload may belong to Python
  std::lock_guard lock(mutex_);
  for (auto& requests : lanes_) {  // in the order of their ids
    const auto found = std::lower_bound(requests.begin(), requests.end(), id,
                                        [](const RequestPtr& request, uint64_t id) { return request->id < id; });
    if (found == requests.end() || (*found)->id != id) continue;
    ++stats_.cancelled;
    drop_waiting(**found, clock_());
    cancelled = std::move(*found);
    requests.erase(found);
    return cancelled->tag;
  }
  for (Running& running : running_) {
    for (Request* request : running.requests) {
      if (request->id != id || request->abandoned) continue;
      ++stats_.cancelled;
      request->abandoned = true;
      return std::exchange(request->tag, nullptr);
    }
  }
  return nullptr;
}

void Queue::sweep() {
  const Nanoseconds now = clock_();
  std::lock_guard lock(mutex_);
  expire(now);
  announce();
}

Batch Queue::completions() {
  uint64_t count;
  std::lock_guard lock(mutex_);
  announced_ = false;
  while (::read(event_fd_, &count, sizeof count) < 0 && errno == EINTR) {
  }
  return std::exchange(completions_, {});
}

void Queue::announce_more() {
  std::lock_guard lock(mutex_);
  wake_loop();
}

void Queue::drain() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
  }
  work_.notify_all();
}

void Queue::close() {
  {
    std::lock_guard lock(mutex_);
    draining_ = closed_ = true;
    for (auto& requests : lanes_) {
      for (RequestPtr& request : requests) {
        forget_waiting(*request);
        ++stats_.failed;
        request->status = Status::unavailable;
        request->message = "the model was unloaded before this request ran";
        complete(std::move(request));
      }
      requests.clear();
    }
    for (Running& running : running_) {
      for (Request* request : running.requests) {
        if (request->abandoned) continue;
        ++stats_.failed;
        abandon(*request, Status::unavailable, "the model was unloaded while this request ran");
      }
    }
    announce();
  }
  work_.notify_all();
}

QueueStats Queue::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

LaneView Queue::view(Lane lane) const {
  const auto& requests = lanes_[static_cast<size_t>(lane)];
  return {requests.size(), requests.empty() ? kNever : requests.front()->enqueued};
}

Nanoseconds Queue::ready_at(Nanoseconds now) const {
  if (draining_) return stats_.waiting > 0 ? 0 : kNever;
  if (held_) return kNever;
  const Nanoseconds ready = policy_.ready_at(view(Lane::interactive), view(Lane::bulk));
  return lane(Lane::interactive).empty() ? std::max(ready, pacer_.bulk_ready_at(now)) : ready;
}

bool Queue::may_run_bulk(Nanoseconds now) const {
  return draining_ || pacer_.bulk_ready_at(now) <= now;
}

Batch Queue::form_batch(Nanoseconds now) {
  expire(now);
  announce();
  if (stats_.waiting == 0) return {};
  const bool interactive = !lane(Lane::interactive).empty();
  const bool bulk = !lane(Lane::bulk).empty() && (!interactive || may_run_bulk(now));
  const Lane chosen = policy_.choose_lane(interactive, bulk);
  if (chosen == Lane::bulk) pacer_.bulk_started(now);
  const auto& requests = lane(chosen);
  std::vector<Waiting> window(std::min<size_t>(requests.size(), policy_.config().look_ahead));
  for (size_t i = 0; i < window.size(); ++i) window[i] = {requests[i]->tokens, requests[i]->enqueued};
  Batch batch = pull(chosen, policy_.fill(window, chosen));
  uint32_t longest = 0;
  uint64_t tokens = 0;
  for (const RequestPtr& request : batch) {
    request->started = now;
    longest = std::max(longest, request->tokens);
    tokens += request->tokens;
  }
  if (policy_.config().pads) tokens = uint64_t{longest} * batch.size();
  policy_.charge(chosen, tokens);
  ++stats_.batches;
  stats_.batched_tokens += tokens;
  return batch;
}

// Moves the requests at `indices` (ascending) out of the lane; those between them close up towards the back.
Batch Queue::pull(Lane chosen, const std::vector<size_t>& indices) {
  auto& requests = lane(chosen);
  Batch batch;
  batch.reserve(indices.size());
  Running running;
  for (size_t index : indices) {
    forget_waiting(*requests[index]);
    running.requests.push_back(requests[index].get());
    batch.push_back(std::move(requests[index]));
  }
  size_t free_slot = indices.back() + 1;
  for (size_t i = indices.back() + 1; i-- > 0;) {
    if (requests[i]) requests[--free_slot] = std::move(requests[i]);
  }
  requests.erase(requests.begin(), requests.begin() + static_cast<std::ptrdiff_t>(indices.size()));
  running.key = batch.data();
  stats_.running += static_cast<uint32_t>(batch.size());
  running_.push_back(std::move(running));
  return batch;
}

// Answers everything whose deadline has passed.
void Queue::expire(Nanoseconds now) {
  if (next_deadline_ > now) return;
  next_deadline_ = kNever;
  for (auto& requests : lanes_) {
    for (RequestPtr& request : requests) {
      if (request->deadline <= now) {
        expire_waiting(std::move(request), now);
      } else {
        next_deadline_ = std::min(next_deadline_, request->deadline);
      }
    }
    std::erase(requests, nullptr);
  }
  for (Running& running : running_) {
    for (Request* request : running.requests) {
      if (request->abandoned || request->keeps_work) continue;
      if (request->deadline <= now) {
        expire_running(*request);
      } else {
        next_deadline_ = std::min(next_deadline_, request->deadline);
      }
    }
  }
}

void Queue::expire_waiting(RequestPtr request, Nanoseconds now) {
  drop_waiting(*request, now);
  ++stats_.expired;
  request->status = Status::deadline_exceeded;
  request->message = "the deadline passed after " + waited(request->enqueued, now) + " in the queue";
  complete(std::move(request));
}

void Queue::expire_running(Request& request) {
  ++stats_.expired;
  abandon(request, Status::deadline_exceeded, "the deadline passed while the model ran");
}

// Answers a running request at once; the worker's own outcome is dropped when it comes.
void Queue::abandon(Request& request, Status status, const char* message) {
  auto answer = std::make_unique<Request>();
  answer->id = request.id;
  answer->tag = std::exchange(request.tag, nullptr);
  answer->collector = request.collector;
  answer->place = request.place;
  answer->status = status;
  answer->message = message;
  request.abandoned = true;
  complete(std::move(answer));
}

// It will not run.
void Queue::drop_waiting(const Request& request, Nanoseconds now) {
  forget_waiting(request);
  if (request.lane == Lane::interactive) pacer_.interactive_finished(now, 1);
}

void Queue::forget_waiting(const Request& request) {
  --stats_.waiting;
  stats_.waiting_tokens -= request.tokens;
  if (stats_.waiting == 0) held_ = limits_.hold > 0;
}

void Queue::complete(RequestPtr request) {
  if (const auto collector = std::move(request->collector)) {
    collector->add(std::move(request));
  } else {
    completions_.push_back(std::move(request));
  }
}

void Queue::announce() {
  if (!completions_.empty()) wake_loop();
}

void Queue::wake_loop() {
  if (announced_) return;
  announced_ = true;
  const uint64_t one = 1;
  while (::write(event_fd_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace predictor
