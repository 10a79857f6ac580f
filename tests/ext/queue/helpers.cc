// Helpers under stress, to be run under ThreadSanitizer (scripts/sanitize.sh): threads with helpers of their own, loops
// of all lengths soon after one another and far apart, changing numbers of helpers, loops within loops, and exceptions.
// Every number must be worked at exactly once, and be done when the loop is.
#include "queue/helpers.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace predictor {
namespace {

constexpr int kLoops = 20'000;

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "helpers: FAILED: %s\n", what);
  std::_Exit(1);
}

void count_each_once(Helpers& helpers, int64_t count, int64_t grain) {
  std::vector<int> worked(static_cast<size_t>(count));
  helpers.share_out(count, grain, [&](int64_t begin, int64_t end) {
    check(begin < end && (end - begin >= std::min(grain, count) || end == count), "parts are as long as they may be");
    for (int64_t i = begin; i < end; ++i) ++worked[static_cast<size_t>(i)];
  });
  for (const int times : worked) check(times == 1, "every number is worked at once");
}

void loops_of_all_kinds(unsigned seed) {
  std::mt19937 random(seed);
  Helpers helpers;
  for (int i = 0; i < kLoops; ++i) {
    if (random() % 50 == 0) helpers.set(random() % 5);
    if (random() % 400 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    count_each_once(helpers, random() % 200, random() % 20);
  }
}

void one_loop_in_another() {
  Helpers helpers;
  helpers.set(2);
  std::vector<int> worked(100);
  for (int i = 0; i < 100; ++i) {
    helpers.share_out(100, 1, [&](int64_t begin, int64_t end) {
      own_helpers().share_out(end - begin, 1, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last; ++k) ++worked[static_cast<size_t>(begin + k)];
      });
    });
  }
  for (const int times : worked) check(times == 100, "loops within loops work at every number");
}

void an_exception_is_thrown_when_all_is_done() {
  Helpers helpers;
  helpers.set(3);
  for (int64_t bad = 0; bad < 200; ++bad) {
    std::atomic<int> parts = 0;
    std::string message;
    try {
      helpers.share_out(200, 10, [&](int64_t begin, int64_t end) {
        ++parts;
        if (begin <= bad && bad < end) throw std::runtime_error("bad number");
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    check(message == "bad number", "the exception of a part is thrown");
    check(parts == 16, "the other parts are done all the same");
    count_each_once(helpers, 50, 1);
  }
}

}  // namespace
}  // namespace predictor

int main() {
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 3; ++seed) threads.emplace_back(predictor::loops_of_all_kinds, seed);
  for (std::thread& thread : threads) thread.join();
  predictor::one_loop_in_another();
  predictor::an_exception_is_thrown_when_all_is_done();
  std::puts("helpers: every loop did all of its work");
}
