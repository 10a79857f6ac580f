// Finds out which tokens may follow in texts that have a form, on a thread of its own, while the model runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "generator/token_form.h"

namespace predictor {

class FormReader {
 public:
  FormReader();
  ~FormReader();  // what is not begun is dropped

  // The text's next token, or its beginning. `state` is the reader's until it is_ready.
  void begin(const std::shared_ptr<FormState>& state);
  void take(const std::shared_ptr<FormState>& state, uint32_t token);

  bool is_ready(const FormState& state) const;
  // Until one of those that were not ready is, or all were.
  void wait();

 private:
  void run();
  void ask(const std::shared_ptr<FormState>& state);

  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::condition_variable done_;
  std::deque<std::shared_ptr<FormState>> waiting_;
  size_t unready_ = 0;
  bool is_closed_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace predictor
