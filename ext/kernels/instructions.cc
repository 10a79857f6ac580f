#include "kernels/instructions.h"

#if defined(__linux__) && defined(__x86_64__)
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace predictor::kernels {

#if defined(__x86_64__)
namespace {

// Tiles are 8 KiB of state for each thread that uses them; a system gives them to a process that asks.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, of Linux 5.16
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
#else
  return false;
#endif
}

bool has_amx() {
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
         __builtin_cpu_supports("amx-bf16") && may_use_tiles();
}

}  // namespace
#endif

Instructions processor_instructions() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")) {
    return has_amx() ? Instructions::amx : Instructions::avx512_bf16;
  }
  if (__builtin_cpu_supports("avx512vnni")) return Instructions::avx512_vnni;
  if (__builtin_cpu_supports("avx512f")) return Instructions::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Instructions::avx2;
#endif
  return Instructions::baseline;
}

}  // namespace predictor::kernels
