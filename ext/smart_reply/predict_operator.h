// Predict: signatures int32[n], keys int32[m], labels int32[m, j], weights float[m, j] -> int32[k], float[k].
// Every signature found among the keys adds weight / n to each of its labels. The k heaviest labels come out, heaviest
// first and equals by label; -1 and 0 stand for what is missing or below the threshold. k and the threshold are the
// custom options: int32 and float32, little endian.
#pragma once

#include "tflite/abi.h"

namespace predictor::tflite {

Registration predict_registration();

}  // namespace predictor::tflite
