// Products of two matrices of int8 with exact sums, on every processor.
#pragma once

#include <ATen/core/Tensor.h>

namespace predictor {

// Whether libtorch's own product of int8 gives the right sums here: tried once. Without VNNI oneDNN adds pairs of
// products in 16 bits, and what does not fit there is cut off.
bool library_multiplies_int8();

// x int8 [rows, in], weight int8 [in, out] -> int32 [rows, out]: by libtorch where it is right, or not on the
// processor; else by loops of ours (kernels/packed_gemm.h), for which the weight is packed in every call: 0.1 to 0.2 ns
// a weight, as long as 10 rows take.
at::Tensor int8_products(const at::Tensor& x, const at::Tensor& weight);

}  // namespace predictor
