// Where and in which numbers a model is run.
#pragma once

#include <cstdint>

#include "transformer/device.h"
#include "weights/precision.h"

namespace predictor {

struct Execution {
  Precision precision;
  Device device;
  uint32_t max_tokens;  // of one text: tables of positions go no further
  // Products of our own loops alone, also where a library's are faster: of those a row's result depends on how many
  // there are.
  bool batch_invariant = false;
};

// The same on the processor and in float32: for what is small, and for embeddings, which lie there.
inline Execution on_processor(const Execution& execution) {
  return {Precision::float32, Device("cpu"), execution.max_tokens};
}

}  // namespace predictor
