// In which numbers matrices are multiplied.
#pragma once

namespace predictor {

enum class Precision {
  float32,
  bfloat16,  // weights and inputs rounded to bfloat16
  int8,      // weights rounded once, inputs row by row; the sums are whole numbers, and exact (kernels/packed_gemm.h)
  int4,      // weights rounded to 4 bits in groups (kernels/packed_int4.h), inputs as for int8
};

}  // namespace predictor
