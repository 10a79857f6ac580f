#include "queue/workers.h"

#include <pthread.h>
#include <sched.h>

#include <functional>
#include <utility>

namespace predictor {

namespace {

void fail(Request& request, Status status, const char* message) {
  request.status = status;
  request.message = message;
}

// Runs the batch; on an exception gives it to the request if it is the only one, and says false.
bool run_once(Executor& executor, std::span<Request* const> batch) {
  try {
    executor.run(batch);
    return true;
  } catch (const InputError& error) {
    if (batch.size() == 1) fail(*batch[0], Status::invalid_argument, error.what());
  } catch (const std::exception& error) {
    if (batch.size() == 1) fail(*batch[0], Status::internal, error.what());
  } catch (...) {
    if (batch.size() == 1) fail(*batch[0], Status::internal, "an exception of unknown type");
  }
  return false;
}

// A worker that is woken does not take the processor from the thread that woke it, which has more to hand over and
// answers to write: it begins at once on an idle core, else at that thread's next pause. Where the system allows no
// other policy nothing changes.
void give_way() {
  const sched_param unused{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &unused);
}

void work(Queue& queue, Executor& executor) {
  give_way();
  executor.begin();
  std::vector<Request*> requests;
  for (;;) {
    Batch batch = queue.take();
    if (batch.empty()) return;
    requests.clear();
    for (const RequestPtr& request : batch) requests.push_back(request.get());
    run_bisecting(executor, requests);
    queue.finish(std::move(batch));
  }
}

}  // namespace

void run_bisecting(Executor& executor, std::span<Request* const> batch) {
  if (run_once(executor, batch) || batch.size() == 1) return;
  const size_t half = batch.size() / 2;
  run_bisecting(executor, batch.first(half));
  run_bisecting(executor, batch.subspan(half));
}

Workers::Workers(Queue& queue, std::vector<std::unique_ptr<Executor>> executors)
    : queue_(queue), executors_(std::move(executors)) {
  try {
    for (const auto& executor : executors_) threads_.emplace_back(work, std::ref(queue_), std::ref(*executor));
  } catch (...) {  // no thread to be had: those already started must not outlive this
    stop();
    throw;
  }
}

Workers::~Workers() {
  stop();
}

void Workers::stop() {
  queue_.close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace predictor
