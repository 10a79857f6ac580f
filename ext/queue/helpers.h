// Threads that help another with the loops of its batch: for loops of a few microseconds, one soon after the other.
//
// libgomp's, behind at::parallel_for, sleep as soon as a process has more of them than processors, as soon as a second
// thread shares out loops. To wake one takes as long as many a loop: a text that came alone gained little by a second
// one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace predictor {

// Belongs to one thread, which it helps.
class Helpers {
 public:
  Helpers() = default;
  ~Helpers();
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  // How many help from now on, at most; they begin to live when there is something to do.
  void set(uint32_t count);

  // Calls work(begin, end) for parts of [0, count) of at least `grain`, except for the last one, until all are done.
  // The calling thread and its helpers each have a stretch of parts, which they take in their order: what a loop
  // fetched ahead is what comes next. Who is through with it takes of the ends of others'. The first exception is
  // thrown when all are done.
  template <typename Work>
  void share_out(int64_t count, int64_t grain, const Work& work) {
    if (count <= 0) return;
    if (count_ == 0 || count <= grain || busy_) return work(int64_t{0}, count);
    const auto call = [](const void* of, int64_t begin, int64_t end) { (*static_cast<const Work*>(of))(begin, end); };
    run({count, std::max<int64_t>(grain, 1), &work, call});
  }

 private:
  struct Job {
    int64_t count = 0;
    int64_t part = 1;  // its size, at least
    const void* work = nullptr;
    void (*call)(const void* work, int64_t begin, int64_t end) = nullptr;
  };
  // The first part that nobody has taken yet, and the one after the last.
  struct alignas(64) Stretch {
    std::atomic<uint64_t> parts = 0;
  };
  struct Helper {
    std::atomic<bool> asleep = false;
    Stretch stretch;
    std::thread thread;
  };

  void run(Job job);
  void start();
  bool take_part(uint32_t self);
  int64_t take_of_stretches(uint32_t self);
  Stretch& stretch_of(uint32_t thread);
  void help(uint32_t number, Helper& self);

  uint32_t count_ = 0;
  bool busy_ = false;
  Job job_;          // written, as the stretches are, while no part of it is left
  Stretch stretch_;  // the calling thread's
  // The number of the job, how many may help, and how many of its parts nobody has taken yet.
  alignas(64) std::atomic<uint64_t> state_ = 0;
  alignas(64) std::atomic<uint32_t> undone_ = 0;  // parts
  std::atomic<bool> ends_ = false;
  std::mutex mutex_;
  std::exception_ptr error_;
  std::vector<std::unique_ptr<Helper>> helpers_;
};

// The calling thread's.
Helpers& own_helpers();

}  // namespace predictor
