// Looks into a model file before the runtime does.
#pragma once

#include <string>
#include <string_view>

namespace predictor::tflite {

// What is wrong with the bytes as a flatbuffer of tensorflow/lite/schema/schema.fbs; empty when nothing is. The library
// has the verifier that the schema's compiler writes, but does not call it, and follows vectors that may be absent.
std::string model_fault(std::string_view bytes);

// Which operator of a model without fault reads what nobody wrote: neither the graph's caller, nor an operator before
// it, nor the file. Empty when none does. The runtime would follow a null pointer there.
std::string unwritten_read(std::string_view bytes);

}  // namespace predictor::tflite
