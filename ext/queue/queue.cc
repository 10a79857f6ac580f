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

// How much longer than without them greedy flows make a batch of others, where there are several of these: two thirds
// of the time are theirs then. Beside a single one a greedy flow has half of it.
constexpr double kMostLonger = 0.5;

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
  if (limits.queue_bytes < 1) throw std::invalid_argument("queue_bytes must be at least 1");
  if (!(limits.client_share > 0 && limits.client_share <= 1)) {
    throw std::invalid_argument("client_share must be over 0 and at most 1");
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
  const Admission admission = room_for(*request);
  if (admission != Admission::accepted) {
    ++stats_.overloaded;
    return {admission, 0};
  }
  const uint64_t id = request->id = ++last_id_;
  request->enqueued = now;
  next_deadline_ = std::min(next_deadline_, request->deadline);
  ++stats_.accepted;
  ++stats_.waiting;
  stats_.waiting_tokens += request->tokens;
  stats_.waiting_bytes += request->bytes;
  if (stats_.waiting >= limits_.hold) held_ = false;
  if (request->lane == Lane::interactive) pacer_.interactive_submitted(now);
  enter(std::move(request), now);
  return {Admission::accepted, id};
}

// Whether the request may wait. One alone may have any number of bytes: each engine has its own limit of those.
Admission Queue::room_for(const Request& request) {
  if (stats_.waiting >= limits_.queue_items) return Admission::queue_full;
  if (stats_.waiting_tokens + request.tokens > limits_.queue_tokens) return Admission::queue_tokens_full;
  if (stats_.waiting > 0 && stats_.waiting_bytes + request.bytes > limits_.queue_bytes) {
    return Admission::queue_bytes_full;
  }
  if (request.flow == 0 || limits_.client_share >= 1) return Admission::accepted;
  const double items = limits_.client_share * limits_.queue_items;
  const double tokens = limits_.client_share * static_cast<double>(limits_.queue_tokens);
  const Account* owner = flows_.owner_of(request.flow);
  const Account& account = owner != nullptr ? *owner : flows_.of(request.flow);
  return account.has_room(request.tokens, items, tokens) ? Admission::accepted : Admission::share_full;
}

void Queue::enter(RequestPtr request, Nanoseconds now) {
  Flow& flow = flows_.of(request->flow);
  const double turn = flows_.enter(flow, *request, now);
  flow.enter(*request);
  request->flow_account = &flow;
  request->owner_account = flows_.owner_of(request->flow);
  if (request->owner_account != nullptr) request->owner_account->enter(*request);
  Places& places = lane(request->lane);
  auto behind = places.end();
  if (!places.empty() && places.back().turn > turn) {
    behind = std::upper_bound(places.begin(), places.end(), turn,
                              [](double turn, const Place& place) { return turn < place.turn; });
  }
  const uint64_t id = request->id;
  places.insert(behind, Place{turn, id, std::move(request)});
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
  const Places& only = lane(lane(Lane::interactive).empty() ? Lane::bulk : Lane::interactive);
  const Nanoseconds now = clock_();
  if (!is_quick(*only.front().request) || ready_at(now) > now) return {};
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
  running_.remove_if([&](const Running& running) {
    if (running.key != batch.data()) return false;
    cost_.ran(running.tokens, now - running.started);
    return true;
  });
  stats_.running -= static_cast<uint32_t>(batch.size());
  for (RequestPtr& request : batch) {
    flows_.leave(*std::exchange(request->flow_account, nullptr), *request, now);
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
  for (Places& places : lanes_) {
    auto found = std::lower_bound(places.begin(), places.end(), id,
                                  [](const Place& place, uint64_t id) { return place.id < id; });
    if (found == places.end() || found->id != id) {  // they need not be in the order of their ids
      found = std::find_if(places.begin(), places.end(), [id](const Place& place) { return place.id == id; });
    }
    if (found == places.end()) continue;
    ++stats_.cancelled;
    drop_waiting(*found->request, clock_());
    cancelled = std::move(found->request);
    places.erase(found);
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
    for (Places& places : lanes_) {
      for (Place& place : places) {
        forget_waiting(*place.request);
        ++stats_.failed;
        place.request->status = Status::unavailable;
        place.request->message = "the model was unloaded before this request ran";
        complete(std::move(place.request));
      }
      places.clear();
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

LaneView Queue::view(Lane of) const {
  const Places& places = lane(of);
  if (places.empty()) return {0, kNever};
  Nanoseconds oldest = places.front().request->enqueued;
  // The first in turn need not be the oldest, which counts where it waits for company.
  if (policy_.config().max_delay > 0 && places.size() < policy_.config().batch_items) {
    for (const Place& place : places) oldest = std::min(oldest, place.request->enqueued);
  }
  return {places.size(), oldest};
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
  const Places& places = lane(chosen);
  const std::vector<size_t> offered = candidates(chosen, now);
  std::vector<Waiting> window(offered.size());
  for (size_t i = 0; i < window.size(); ++i) {
    const Request& request = *places[offered[i]].request;
    window[i] = {request.tokens, request.enqueued};
  }
  std::vector<size_t> indices = policy_.fill(window, chosen);
  for (size_t& index : indices) index = offered[index];
  const double turn = places.front().turn;
  Batch batch = pull(chosen, indices);
  uint32_t longest = 0;
  uint64_t tokens = 0;
  for (const RequestPtr& request : batch) {
    request->started = now;
    longest = std::max(longest, request->tokens);
    tokens += request->tokens;
  }
  flows_.taken(chosen, turn, tokens);
  if (policy_.config().pads) tokens = uint64_t{longest} * batch.size();
  policy_.charge(chosen, tokens);
  running_.back().tokens = tokens;
  running_.back().started = now;
  ++stats_.batches;
  stats_.batched_tokens += tokens;
  return batch;
}

// Places of the lane, ascending, whose requests may share the next batch: the first in turn, but of no flow more than
// its portion.
std::vector<size_t> Queue::candidates(Lane chosen, Nanoseconds now) {
  const Places& places = lane(chosen);
  const PolicyConfig& config = policy_.config();
  const Portion portion = flows_.portion(chosen, now, config.batch_items, config.batch_tokens);
  const Portion of_greedy = portion_of_greedy(chosen, portion);
  const size_t seen = std::min<size_t>(places.size(), config.look_ahead);
  std::vector<size_t> offered;
  offered.reserve(seen);
  for (size_t i = 0; i < seen; ++i) {
    const Request& request = *places[i].request;
    Flow& flow = *request.flow_account;
    const Portion& part = Flows::is_greedy(flow, chosen) ? of_greedy : portion;
    if (part.is_all() || Flows::take_part(flow, stats_.batches + 1, request.tokens, part)) offered.push_back(i);
  }
  return offered;
}

// Of a batch that those wait for who want one answer: how much a flow may have of it that wants many. All of these
// together make it longer by a part of what it takes without them.
Portion Queue::portion_of_greedy(Lane chosen, const Portion& portion) const {
  const uint32_t greedy = flows_.greedy(chosen);
  const uint32_t others = flows_.others(chosen);
  if (portion.is_all() || greedy == 0 || others == 0 || !cost_.is_known()) return portion;
  const Places& places = lane(chosen);
  const size_t seen = std::min<size_t>(places.size(), policy_.config().look_ahead);
  uint64_t of_others = 0;
  for (size_t i = 0; i < seen; ++i) {
    const Request& request = *places[i].request;
    if (!Flows::is_greedy(*request.flow_account, chosen)) of_others += request.tokens;
  }
  const double longer = std::max(kMostLonger, 1.0 / others);
  const double tokens = longer * (cost_.fixed_tokens() + static_cast<double>(of_others)) / greedy;
  Portion part = portion;
  if (tokens < static_cast<double>(part.tokens)) part.tokens = static_cast<uint64_t>(tokens);
  return part;
}

// Moves the requests at `indices` (ascending) out of the lane; those between them close up towards the back.
Batch Queue::pull(Lane chosen, const std::vector<size_t>& indices) {
  Places& places = lane(chosen);
  Batch batch;
  batch.reserve(indices.size());
  Running running;
  for (size_t index : indices) {
    RequestPtr& request = places[index].request;
    forget_waiting(*request);
    running.requests.push_back(request.get());
    batch.push_back(std::move(request));
  }
  size_t free_place = indices.back() + 1;
  for (size_t i = indices.back() + 1; i-- > 0;) {
    if (places[i].request) places[--free_place] = std::move(places[i]);
  }
  places.erase(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(indices.size()));
  running.key = batch.data();
  stats_.running += static_cast<uint32_t>(batch.size());
  running_.push_back(std::move(running));
  return batch;
}

// Answers everything whose deadline has passed.
void Queue::expire(Nanoseconds now) {
  if (next_deadline_ > now) return;
  next_deadline_ = kNever;
  for (Places& places : lanes_) {
    for (Place& place : places) {
      if (place.request->deadline <= now) {
        expire_waiting(std::move(place.request), now);
      } else {
        next_deadline_ = std::min(next_deadline_, place.request->deadline);
      }
    }
    std::erase_if(places, [](const Place& place) { return place.request == nullptr; });
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
void Queue::drop_waiting(Request& request, Nanoseconds now) {
  forget_waiting(request);
  flows_.leave(*std::exchange(request.flow_account, nullptr), request, now);
  if (request.lane == Lane::interactive) pacer_.interactive_finished(now, 1);
}

void Queue::forget_waiting(Request& request) {
  --stats_.waiting;
  stats_.waiting_tokens -= request.tokens;
  stats_.waiting_bytes -= request.bytes;
  request.flow_account->leave(request);
  if (Account* owner = std::exchange(request.owner_account, nullptr)) owner->leave(request);
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
