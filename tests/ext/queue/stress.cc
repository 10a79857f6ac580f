// Stress of the queue and its workers, without Python and libtorch, to be run under ThreadSanitizer and
// AddressSanitizer (scripts/sanitize.sh): submitters, cancellers, a sweeper and an event loop's reader against a model
// that sleeps, fails at random and is poisoned. Every accepted request must be answered exactly once, and rightly.
//
//   stress [SEED]
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "queue/inline_runner.h"
#include "queue/queue.h"
#include "queue/workers.h"
#include "text/document.h"

namespace predictor {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr unsigned kLongestRunSeconds = 120;  // then the process is killed: something hangs
constexpr char kPoison[] = "poison";

void check(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "stress: FAILED: %s\n", what.c_str());
  std::_Exit(1);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t end) { return std::uniform_int_distribution<uint64_t>(0, end - 1)(engine_); }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }

 private:
  std::mt19937_64 engine_;
};

enum class Ending { drain_idle, drain_busy, close_busy };

struct Round {
  const char* name;
  QueueLimits limits;
  PolicyConfig policy;
  unsigned workers;
  double deadlines = 0.1;  // share of the requests that have one
  double bulk = 0.3;
  bool alone = false;  // submits only when nothing waits or runs
  Ending ending = Ending::drain_idle;
  unsigned submitters = 4;
  unsigned requests = 2500;  // of each submitter
};

// What became of one request; its address is the request's tag.
struct Entry {
  uint64_t number = 0;
  bool poisoned = false;
  bool has_deadline = false;
  std::atomic<bool> accepted = false;
  std::atomic<int> answers = 0;
};

struct Job : Request {
  uint64_t number = 0;
  Document document;
  Result result;
};

double expected_score(const Job& job) {
  double score = static_cast<double>(job.number);
  for (const std::string& token : job.document.tokens) score = score * 31 + static_cast<double>(token.size());
  return score;
}

// A model: takes a while, refuses poison, and now and then fails on a whole batch for no reason of the batch's.
class FakeModel : public Executor {
 public:
  FakeModel(const PolicyConfig& policy, uint64_t seed) : policy_(policy), random_(seed) {}

  void begin() override { labels_ = std::make_shared<const Labels>(Labels{"score"}); }

  void run(std::span<Request* const> batch) override {
    check_batch(batch);
    std::this_thread::sleep_for(microseconds(random_.chance(0.02) ? 3000 : random_.below(150)));
    if (batch.size() > 1 && random_.chance(0.02)) throw std::runtime_error("a fault that passes");
    for (Request* request : batch) {
      Job& job = static_cast<Job&>(*request);
      if (job.document.tokens.front() == kPoison) throw InputError("poisoned: " + std::to_string(job.number));
      job.result = {labels_, {expected_score(job)}};
    }
  }

 private:
  void check_batch(std::span<Request* const> batch) const {
    uint64_t longest = 0;
    for (const Request* request : batch) longest = std::max<uint64_t>(longest, request->tokens);
    check(!batch.empty() && batch.size() <= policy_.batch_items, "a batch over batch_items");
    check(batch.size() == 1 || batch.size() * longest <= policy_.batch_tokens, "a batch over batch_tokens");
    for (const Request* request : batch) {
      check(!policy_.equal_lengths || request->tokens == longest, "a batch of unequal lengths");
      check(request->lane == batch[0]->lane, "a batch of both lanes");
    }
  }

  const PolicyConfig policy_;
  Random random_;
  std::shared_ptr<const Labels> labels_;
};

// One round: a queue, its workers, and everything that is done to them.
class Stress {
 public:
  Stress(const Round& round, uint64_t seed)
      : round_(round),
        seed_(seed),
        queue_(round.limits, round.policy, round.workers),
        ledger_(round.submitters * round.requests) {}

  void run() {
    start_workers();
    std::thread reader([this] { read(); });
    std::thread sweeper([this] { sweep(); });
    std::thread canceller([this] { cancel(); });
    std::vector<std::thread> submitters;
    for (unsigned i = 0; i < round_.submitters; ++i) submitters.emplace_back([this, i] { submit(i); });
    if (round_.ending != Ending::drain_idle) {
      while (submitted_ < ledger_.size() / 2) std::this_thread::sleep_for(microseconds(100));
      round_.ending == Ending::drain_busy ? queue_.drain() : queue_.close();
    }
    for (std::thread& submitter : submitters) submitter.join();
    queue_.drain();
    wait_until_idle();
    ended_ = true;
    canceller.join();
    sweeper.join();
    wait_until_read();
    read_on_ = false;
    reader.join();
    workers_.reset();
    check_end();
  }

 private:
  void start_workers() {
    std::vector<std::unique_ptr<Executor>> models;
    for (unsigned i = 0; i < round_.workers; ++i) {
      models.push_back(std::make_unique<FakeModel>(round_.policy, seed_ + 1000 + i));
    }
    workers_ = std::make_unique<Workers>(queue_, std::move(models));
  }

  void submit(unsigned submitter) {
    Random random(seed_ + submitter);
    InlineRunner runner(queue_, std::make_unique<FakeModel>(round_.policy, seed_ + 2000 + submitter));
    for (unsigned i = 0; i < round_.requests; ++i) {
      Entry& entry = ledger_[submitter * round_.requests + i];
      entry.number = submitter * uint64_t{round_.requests} + i + 1;
      const Submission submission = queue_.submit(make_job(entry, random));
      ++submitted_;
      if (submission.admission == Admission::accepted) {
        entry.accepted = true;
        last_id_ = submission.id;
      } else {
        refuse(entry, submission.admission);
      }
      if (round_.alone || random.chance(0.3)) wake(runner);
      if (round_.alone) wait_until_idle();
      if (random.chance(0.05)) std::this_thread::sleep_for(microseconds(random.below(2000)));
    }
    queue_.wake();
  }

  void wake(InlineRunner& runner) {
    const bool ran = runner.wake([](const Request& request) { return request.tokens <= 6; });
    if (ran) ++ran_alone_;
  }

  std::unique_ptr<Job> make_job(Entry& entry, Random& random) {
    entry.poisoned = random.chance(0.03);
    std::string text = entry.poisoned ? "POISON" : "Word";
    for (uint64_t n = random.below(12); n > 0; --n) text.append(1 + random.below(3), ' ').append(random.below(9), 'x');
    auto job = std::make_unique<Job>();
    job->number = entry.number;
    job->document.tokens = tokenize(text, round_.limits.max_tokens, text.size());
    job->tokens = static_cast<uint32_t>(job->document.tokens.size());
    job->lane = random.chance(round_.bulk) ? Lane::bulk : Lane::interactive;
    entry.has_deadline = random.chance(round_.deadlines);
    if (entry.has_deadline) {
      job->deadline = Queue::monotonic_now() + static_cast<Nanoseconds>(random.below(4'000'000));
    }
    job->tag = &entry;
    return job;
  }

  void refuse(const Entry& entry, Admission admission) {
    ++refused_;
    check(admission != Admission::deadline_passed || entry.has_deadline, "a deadline out of nowhere");
    check(admission != Admission::too_long || round_.limits.max_tokens < 12, "a short request was too long");
    if (admission == Admission::deadline_passed) ++refused_late_;
    if (is_full(admission)) std::this_thread::sleep_for(microseconds(200));
  }

  void cancel() {
    Random random(seed_ + 100);
    while (!ended_) {
      const uint64_t last = last_id_;
      const uint64_t id = last - std::min(last, random.below(40)) + random.below(4);
      if (void* tag = queue_.cancel(id)) {
        ++static_cast<Entry*>(tag)->answers;
        ++cancelled_;
      }
      std::this_thread::sleep_for(microseconds(random.below(700)));
    }
  }

  void sweep() {
    while (!ended_) {
      queue_.sweep();
      const QueueStats stats = queue_.stats();
      check(stats.waiting <= round_.limits.queue_items, "more than queue_items wait");
      check(stats.waiting_tokens <= round_.limits.queue_tokens, "more than queue_tokens wait");
      check(stats.running <= round_.workers * round_.policy.batch_items + 1, "more run than there are workers for");
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  // As an event loop does: fetches only when told to, so that an announcement that is lost is found out.
  void read() {
    pollfd readable = {queue_.event_fd(), POLLIN, 0};
    while (read_on_) {
      if (::poll(&readable, 1, 10) <= 0) continue;
      for (const RequestPtr& request : queue_.completions()) check_answer(*request);
    }
    check(queue_.completions().empty(), "an outcome after the last one");
  }

  void check_answer(const Request& request) {
    Entry& entry = *static_cast<Entry*>(request.tag);
    check(++entry.answers == 1, "answered twice: " + std::to_string(entry.number));
    ++answered_;
    switch (request.status) {
      case Status::ok: {
        const Job& job = static_cast<const Job&>(request);
        check(!entry.poisoned && job.number == entry.number, "the answer to another request");
        check(job.result.values.at(0) == expected_score(job), "a wrong score");
        check(job.result.labels->at(0) == "score", "a wrong label");
        return;
      }
      case Status::invalid_argument:
        check(entry.poisoned && request.message == "poisoned: " + std::to_string(entry.number), "another's poison");
        return;
      case Status::deadline_exceeded:
        return check(entry.has_deadline, "a deadline where there was none");
      case Status::unavailable:
        return check(round_.ending == Ending::close_busy, "UNAVAILABLE before the end");
      case Status::too_large:  // refused at submit here, not by an outcome
      case Status::internal:
        check(false, "an error that nothing asked for: " + request.message);
    }
  }

  void wait_until_idle() {
    for (QueueStats stats = queue_.stats(); stats.waiting > 0 || stats.running > 0; stats = queue_.stats()) {
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  void wait_until_read() {
    while (answered_ + cancelled_ < queue_.stats().accepted) std::this_thread::sleep_for(milliseconds(1));
  }

  void check_end() {
    for (const Entry& entry : ledger_) {
      check(entry.answers == (entry.accepted ? 1 : 0), "not answered exactly once: " + std::to_string(entry.number));
    }
    const QueueStats stats = queue_.stats();
    const std::string counts = std::to_string(stats.accepted) + " accepted, " + std::to_string(stats.completed) +
                               " completed, " + std::to_string(stats.failed) + " failed, " +
                               std::to_string(stats.expired) + " expired, " + std::to_string(stats.cancelled) +
                               " cancelled, " + std::to_string(refused_) + " refused, " +
                               std::to_string(stats.batches) + " batches, " + std::to_string(ran_alone_) + " alone";
    check(stats.accepted + refused_ == ledger_.size(), "requests got lost: " + counts);
    check(stats.completed + stats.failed + (stats.expired - refused_late_) + stats.cancelled == stats.accepted,
          "the counters do not add up: " + counts);
    check(stats.cancelled == cancelled_, "cancellations do not add up: " + counts);
    check(stats.waiting == 0 && stats.waiting_tokens == 0 && stats.running == 0, "something stayed: " + counts);
    check(stats.completed > 0, "nothing was completed: " + counts);
    std::printf("%-28s %s\n", round_.name, counts.c_str());
  }

  const Round round_;
  const uint64_t seed_;
  Queue queue_;
  std::vector<Entry> ledger_;
  std::unique_ptr<Workers> workers_;
  std::atomic<uint64_t> submitted_ = 0, last_id_ = 0, answered_ = 0, cancelled_ = 0, refused_ = 0, refused_late_ = 0,
                        ran_alone_ = 0;
  std::atomic<bool> ended_ = false, read_on_ = true;
};

std::vector<Round> rounds() {
  const QueueLimits large = {.queue_items = 4096, .queue_tokens = 1 << 20, .max_tokens = 4096};
  return {
      {.name = "defaults, one worker", .limits = large, .policy = {}, .workers = 1},
      {.name = "defaults, four workers", .limits = large, .policy = {}, .workers = 4},
      {.name = "equal lengths", .limits = large, .policy = {.batch_items = 8, .equal_lengths = true}, .workers = 2},
      {.name = "a tiny queue",
       .limits = {.queue_items = 4, .queue_tokens = 24, .max_tokens = 10},
       .policy = {.batch_items = 3, .batch_tokens = 12, .look_ahead = 2, .max_padding = 0, .free_padding = 0},
       .workers = 3},
      {.name = "delay and many deadlines",
       .limits = large,
       .policy = {.batch_items = 16, .max_delay = 500'000},
       .workers = 2,
       .deadlines = 0.6},
      {.name = "hold, drained under load",
       .limits = {.hold = 50},
       .policy = {.batch_items = 8},
       .workers = 2,
       .bulk = 0.7,
       .ending = Ending::drain_busy},
      {.name = "alone requests run at once",
       .limits = large,
       .policy = {},
       .workers = 1,
       .alone = true,
       .submitters = 1,
       .requests = 800},
      {.name = "closed under load",
       .limits = large,
       .policy = {.batch_items = 4},
       .workers = 4,
       .ending = Ending::close_busy},
  };
}

}  // namespace
}  // namespace predictor

int main(int argc, char** argv) {
  ::alarm(predictor::kLongestRunSeconds);
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device{}();
  std::printf("stress: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (const predictor::Round& round : predictor::rounds()) predictor::Stress(round, seed).run();
  std::puts("stress: every request was answered exactly once");
}
