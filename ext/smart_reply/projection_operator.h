// LSH_PROJECTION as TensorFlow Lite defines it (kernels/lsh_projection.cc of release 2.14), many seeds at a time:
// seeds float[h, b], input [n, ...], optionally weights float[n] -> int32[h] (sparse) or int32[h * b] (dense).
// Bit (i, j) is 1 if the weighted sum of the hashes of seed (i, j) with each input row is over 0; sparse packs the
// bits of one i, first highest, and adds i * 2^b.
#pragma once

#include "tflite/abi.h"

namespace predictor::tflite {

Registration projection_registration();

}  // namespace predictor::tflite
