// How many threads work at one batch: libtorch's in its operators, ours in our loops.
#pragma once

#include <cstdint>

#include "queue/helpers.h"

namespace predictor {

inline constexpr uint32_t kMaxThreads = 256;

// For what the calling thread runs from now on.
void set_threads(uint32_t threads);

// Calls work(begin, end) for parts of [0, count), by as many threads as are worth while: `grain` for each. No part may
// call operators of libtorch, which would share out their work once more.
template <typename Work>
void share_out(int64_t count, int64_t grain, const Work& work) {
  own_helpers().share_out(count, grain, work);
}

}  // namespace predictor
