// A text model with its queue and its workers: token ids in, numbers out, no GIL anywhere.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "encoder/text_model.h"
#include "queue/queue.h"
#include "queue/workers.h"
#include "weights/precision.h"

namespace predictor {

struct TextEngineConfig {
  Precision precision = Precision::float32;
  uint32_t replicas = 1;         // batches that run at the same time
  uint32_t threads = 1;          // threads within one batch
  uint32_t warm_up_tokens = 64;  // the longest text of the warm-up, or max_tokens if less; 0: no warm-up
  std::string device = "cpu";
  QueueLimits limits;
  PolicyConfig policy;
};

struct TextRequest : Request {
  TextTokens text;
  std::vector<float> answer;
};

class TextEngine {
 public:
  // Loads and warms up; takes as long as that takes. Of a model that pads, a probe finds out which texts may share a
  // batch. Throws ModelError when the model cannot be served, and std::invalid_argument, naming the setting, when one
  // is out of range; `load` is given settings that are not.
  TextEngine(const std::function<std::shared_ptr<const TextModel>(const TextEngineConfig&)>& load,
             TextEngineConfig config);

  // Throws std::invalid_argument for ids that are none: at least one, each below the vocabulary.
  Submission submit(TextTokens text, Lane lane, Nanoseconds deadline, void* tag, uint64_t flow);

  // Wakes a worker for what was submitted. Nothing is so quick here that the caller would run it himself.
  bool wake();

  Queue& queue() { return *queue_; }
  const TextModel& model() const { return *model_; }

 private:
  std::shared_ptr<const TextModel> model_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Workers> workers_;  // after the queue: it ends first
};

}  // namespace predictor
