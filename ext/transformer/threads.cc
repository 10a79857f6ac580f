#include "transformer/threads.h"

#include <ATen/Parallel.h>

namespace predictor {

void set_threads(uint32_t threads) {
  at::set_num_threads(static_cast<int>(threads));
  own_helpers().set(threads - 1);
}

}  // namespace predictor
