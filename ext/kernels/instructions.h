// Which instructions the processor has.
#pragma once

namespace predictor::kernels {

// Each has what those before it have.
enum class Instructions { baseline, avx2, avx512, avx512_vnni, avx512_bf16, amx };

// Those that this process may use. The first call asks the system for AMX's tiles, for all threads.
Instructions processor_instructions();

}  // namespace predictor::kernels
