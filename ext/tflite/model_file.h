// Looks into a model file before the runtime does.
#pragma once

#include <string>
#include <string_view>

namespace predictor::tflite {

// What is wrong with the bytes as a flatbuffer of tensorflow/lite/schema/schema.fbs; empty when nothing is. The library
// has the verifier that the schema's compiler writes, but does not call it, and follows vectors that may be absent.
std::string model_fault(std::string_view bytes);

// What is wrong with the tensors of a model whose flatbuffer is well formed: strings that lie outside of their buffer,
// or an operator that reads what neither the graph's caller, nor an operator before it, nor the file wrote. Empty when
// nothing is. The runtime would follow a wild pointer there.
std::string tensor_fault(std::string_view bytes);

}  // namespace predictor::tflite
