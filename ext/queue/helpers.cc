#include "queue/helpers.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <system_error>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace predictor {

namespace {

constexpr int64_t kPartsEach = 4;  // who is held up, by another process or a cache, leaves the rest to others
constexpr auto kPatience = std::chrono::microseconds(50);  // between two loops of a batch is less

// Of Helpers::state_.
constexpr unsigned kLeftBits = 16;
constexpr unsigned kHelpersBits = 9;
constexpr uint64_t kOneJob = uint64_t{1} << (kLeftBits + kHelpersBits);

uint64_t left_of(uint64_t state) {
  return state & ((uint64_t{1} << kLeftBits) - 1);
}

uint64_t helpers_of(uint64_t state) {
  return state >> kLeftBits & ((uint64_t{1} << kHelpersBits) - 1);
}

// Of Stretch::parts.
constexpr unsigned kEndBits = 32;

uint64_t first_of(uint64_t stretch) {
  return stretch >> kEndBits;
}

uint64_t end_of(uint64_t stretch) {
  return stretch & ((uint64_t{1} << kEndBits) - 1);
}

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// Whether it holds within kPatience.
template <typename Condition>
bool wait_for(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 64; ++i) {
      if (condition()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

Helpers::~Helpers() {
  ends_ = true;
  for (const auto& helper : helpers_) {
    helper->asleep = false;
    helper->asleep.notify_one();
    helper->thread.join();
  }
}

void Helpers::set(uint32_t count) {
  count_ = std::min(count, (uint32_t{1} << kHelpersBits) - 1);
}

// Those that are missing; fewer where the system has no thread to give: it takes longer then, and is as right.
void Helpers::start() {
  try {
    while (helpers_.size() < count_) {
      auto helper = std::make_unique<Helper>();
      Helper& self = *helper;
      helpers_.reserve(helpers_.size() + 1);
      self.thread = std::thread(&Helpers::help, this, static_cast<uint32_t>(helpers_.size()), std::ref(self));
      helpers_.push_back(std::move(helper));
    }
  } catch (const std::system_error&) {
    count_ = static_cast<uint32_t>(helpers_.size());
  }
}

void Helpers::run(Job job) {
  if (helpers_.size() < count_) start();
  const int64_t most = std::min<int64_t>(kPartsEach * (count_ + 1), (int64_t{1} << kLeftBits) - 1);
  job.part = std::max(job.part, (job.count + most - 1) / most);
  const auto parts = static_cast<uint32_t>((job.count + job.part - 1) / job.part);
  job_ = job;
  busy_ = true;
  undone_.store(parts, std::memory_order_relaxed);
  const uint64_t threads = count_ + 1;
  for (uint64_t thread = 0; thread < threads; ++thread) {
    const uint64_t stretch = parts * thread / threads << kEndBits | parts * (thread + 1) / threads;
    stretch_of(static_cast<uint32_t>(thread)).parts.store(stretch, std::memory_order_relaxed);
  }
  const uint64_t number = state_.load(std::memory_order_relaxed) / kOneJob + 1;
  state_ = number * kOneJob | uint64_t{count_} << kLeftBits | parts;
  const uint32_t needed = std::min(count_, parts - 1);
  for (uint32_t i = 0; i < needed; ++i) {
    if (!helpers_[i]->asleep) continue;
    helpers_[i]->asleep = false;
    helpers_[i]->asleep.notify_one();
  }
  while (take_part(0)) {
  }
  if (!wait_for([this] { return undone_.load(std::memory_order_acquire) == 0; })) {
    while (const uint32_t undone = undone_.load(std::memory_order_acquire)) undone_.wait(undone);
  }
  busy_ = false;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

Helpers::Stretch& Helpers::stretch_of(uint32_t thread) {
  return thread == 0 ? stretch_ : helpers_[thread - 1]->stretch;
}

// Of its own stretch the first; of another's the last. There is one for whoever calls this.
int64_t Helpers::take_of_stretches(uint32_t self) {
  const uint32_t threads = count_ + 1;
  for (uint32_t i = 0;; ++i) {
    std::atomic<uint64_t>& parts = stretch_of((self + i) % threads).parts;
    uint64_t stretch = parts.load(std::memory_order_relaxed);
    while (first_of(stretch) < end_of(stretch)) {
      const bool own = i == 0;
      const uint64_t rest = own ? stretch + (uint64_t{1} << kEndBits) : stretch - 1;
      if (!parts.compare_exchange_weak(stretch, rest, std::memory_order_relaxed)) continue;
      return static_cast<int64_t>(own ? first_of(stretch) : end_of(rest));
    }
  }
}

// False: none is left. Who takes one away from the number of those left has one for itself, and the job stays what it
// is until it is done.
bool Helpers::take_part(uint32_t self) {
  uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (left_of(state) == 0) return false;
  } while (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  const int64_t begin = take_of_stretches(self) * job_.part;
  try {
    job_.call(job_.work, begin, std::min(begin + job_.part, job_.count));
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  if (undone_.fetch_sub(1, std::memory_order_acq_rel) == 1) undone_.notify_one();
  return true;
}

void Helpers::help(uint32_t number, Helper& self) {
  const auto has_work = [&] {
    const uint64_t state = state_.load();
    return ends_.load(std::memory_order_relaxed) || (left_of(state) > 0 && number < helpers_of(state));
  };
  for (;;) {
    if (!wait_for(has_work)) {
      self.asleep = true;
      while (!has_work() && self.asleep) self.asleep.wait(true);
      self.asleep = false;
    }
    if (ends_) return;
    take_part(number + 1);
  }
}

Helpers& own_helpers() {
  thread_local Helpers helpers;
  return helpers;
}

}  // namespace predictor
