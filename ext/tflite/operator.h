// What the operators have in common: their tensors, and how they say no.
#pragma once

#include <exception>
#include <utility>

#include "tflite/abi.h"
#include "tflite/library.h"

namespace predictor::tflite {

inline Tensor& tensor(Context* context, const IntArray* indices, int position) {
  return context->tensors[indices->data[position]];
}

inline bool has_shape(const Tensor& tensor, Type type, int rank) {
  return tensor.type == type && tensor.dims && tensor.dims->size == rank;
}

// Whether a constant has as many bytes as its shape says.
inline bool is_full(const Tensor& tensor) {
  size_t elements = 1;
  for (int i = 0; i < tensor.dims->size; ++i) elements *= static_cast<size_t>(tensor.dims->data[i]);
  return tensor.data && tensor.bytes == elements * 4;
}

// Reports `message` with the operator's name and returns kError.
Status refuse(Context* context, const char* name, const char* message);

// Whether the node has so many inputs and outputs, all of them there; reports otherwise.
bool has_arity(Context* context, const Node* node, const char* name, int inputs, int outputs);

// A tensor whose size is known only when the operator runs.
void make_dynamic(Tensor& tensor);

// Gives a tensor one dimension of `size` elements, as long as it has not got that already.
Status resize(Context* context, Tensor& tensor, int size);

// Runs `body`, which returns a Status; no exception may cross into the runtime.
template <typename Body>
Status guarded(Context* context, const char* name, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::exception& error) {
    return refuse(context, name, error.what());
  }
}

}  // namespace predictor::tflite
