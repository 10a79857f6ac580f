// A TorchScript model with its queue and its workers: documents in, results out, no GIL anywhere.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "document.h"
#include "queue.h"
#include "torchscript_model.h"
#include "workers.h"

namespace predictor {

struct EngineConfig {
  unsigned replicas = 1;              // batches that run at the same time
  int threads = 1;                    // threads of libtorch within one batch
  uint32_t warm_up_tokens = 64;       // the longest document of the warm-up; 0: no warm-up
  std::optional<bool> equal_lengths;  // whether only equal lengths share a batch; unset: a probe finds out
  QueueLimits limits;
  PolicyConfig policy;
};

struct PredictRequest : Request {
  Document document;
  Result result;
};

class TorchScriptEngine {
 public:
  // Loads, probes and warms up; takes as long as that takes. Throws ModelError when the model cannot be served.
  TorchScriptEngine(const std::string& path, const EngineConfig& config);

  // Tokenises and submits.
  Submission submit(std::string_view text, Lane lane, Nanoseconds deadline, void* tag);

  // Answers what waits with UNAVAILABLE and waits for the running batches.
  void stop() { workers_.reset(); }

  Queue& queue() { return *queue_; }
  const TorchScriptModel& model() const { return *model_; }
  // What a sample document was answered with; its labels, or the length of its vector.
  const Result& sample() const { return sample_; }

 private:
  std::shared_ptr<TorchScriptModel> model_;
  Result sample_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Workers> workers_;  // after the queue: it ends first
};

}  // namespace predictor
