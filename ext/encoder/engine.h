// An encoder with its queue and its workers: token ids in, vectors out, no GIL anywhere.
#pragma once

#include <memory>
#include <string>

#include "encoder/model.h"
#include "queue/queue.h"
#include "queue/workers.h"

namespace predictor {

struct EncoderConfig {
  uint32_t replicas = 1;         // batches that run at the same time
  uint32_t threads = 1;          // threads of libtorch within one batch
  uint32_t warm_up_tokens = 64;  // the longest text of the warm-up, or max_tokens if less; 0: no warm-up
  uint32_t vocabulary = 1;       // token ids lie below this
  std::string device = "cpu";
  QueueLimits limits;
  PolicyConfig policy;
};

struct EncodeRequest : Request {
  TokenIds ids;
  Vector vector;
};

class EncoderEngine {
 public:
  // Loads and warms up; takes as long as that takes. Throws ModelError when the file cannot be served, and
  // std::invalid_argument, naming the setting, when one is out of range.
  EncoderEngine(const std::string& path, const EncoderConfig& config);

  // `ids`: at least one, each below the vocabulary.
  Submission submit(TokenIds ids, Lane lane, Nanoseconds deadline, void* tag);

  // Wakes a worker for what was submitted. Nothing is so quick here that the caller would run it himself.
  bool wake();

  Queue& queue() { return *queue_; }
  size_t dimensions() const { return dimensions_; }

 private:
  uint32_t vocabulary_;
  size_t dimensions_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Workers> workers_;  // after the queue: it ends first
};

}  // namespace predictor
