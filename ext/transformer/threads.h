// How many threads libtorch uses within one batch.
#pragma once

#include <cstdint>

namespace predictor {

inline constexpr uint32_t kMaxThreads = 256;

// For what the calling thread runs from now on.
void set_threads(uint32_t threads);

}  // namespace predictor
