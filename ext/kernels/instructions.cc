#include "kernels/instructions.h"

namespace predictor::kernels {

Instructions processor_instructions() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) {
    return __builtin_cpu_supports("avx512bf16") ? Instructions::avx512_bf16 : Instructions::avx512_vnni;
  }
  if (__builtin_cpu_supports("avx512f")) return Instructions::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Instructions::avx2;
#endif
  return Instructions::baseline;
}

}  // namespace predictor::kernels
