#include "generator/form_reader.h"

#include <exception>
#include <utility>

namespace predictor {

FormReader::FormReader() : thread_([this] { run(); }) {}

FormReader::~FormReader() {
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  asked_.notify_one();
  thread_.join();
}

void FormReader::begin(const std::shared_ptr<FormState>& state) {
  ask(state);
}

void FormReader::take(const std::shared_ptr<FormState>& state, uint32_t token) {
  state->tokens.assign(1, token);
  ask(state);
}

bool FormReader::is_ready(const FormState& state) const {
  std::lock_guard lock(mutex_);
  return state.is_ready;
}

void FormReader::wait() {
  std::unique_lock lock(mutex_);
  const size_t before = unready_;
  done_.wait(lock, [&] { return unready_ == 0 || unready_ < before; });
}

void FormReader::ask(const std::shared_ptr<FormState>& state) {
  {
    std::lock_guard lock(mutex_);
    state->is_ready = false;
    waiting_.push_back(state);
    ++unready_;
  }
  asked_.notify_one();
}

void FormReader::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    asked_.wait(lock, [this] { return is_closed_ || !waiting_.empty(); });
    if (is_closed_) return;
    std::shared_ptr<FormState> state = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    try {
      state->allowed = state->form->after(state->tokens);
    } catch (const std::exception& error) {
      state->error = error.what();
    }
    lock.lock();
    state->is_ready = true;
    --unready_;
    lock.unlock();
    done_.notify_all();
    state.reset();  // without the lock: it may be the last to know the form
    lock.lock();
  }
}

}  // namespace predictor
