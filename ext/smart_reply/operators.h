// The operators of the Smart Reply graph for TensorFlow Lite:
//   Normalize -> SKIP_GRAM -> ExtractFeatures -> LSH_PROJECTION -> Predict -> HASHTABLE_LOOKUP.
// SKIP_GRAM and HASHTABLE_LOOKUP are the runtime's own, the former behind a check of its options; LSH_PROJECTION is the
// runtime's contract, computed faster.
//
// Everything about a model that an operator relies on is checked when it is prepared, and a fault reported through the
// context, which makes loading the model fail with that message.
#pragma once

#include "tflite/library.h"

namespace predictor::tflite {

// Adds Normalize, ExtractFeatures and Predict, and with `fast_projection` takes the place of LSH_PROJECTION.
// Throws std::runtime_error when the resolver lacks SKIP_GRAM.
void register_operators(Resolver* resolver, bool fast_projection);

// The graph whose Normalize was made on this thread since the last register_operators or take_context; null unless
// there was exactly one. An interpreter does not show its tensors, but the operators that it makes are given them.
Context* take_context();

}  // namespace predictor::tflite
