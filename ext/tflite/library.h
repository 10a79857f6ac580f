// The functions of tflite-runtime's shared library that the operators and the reply session call.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "tflite/abi.h"

namespace predictor::tflite {

struct Resolver;     // tflite::MutableOpResolver
struct Interpreter;  // tflite::impl::Interpreter
struct Model;        // tflite::impl::FlatBufferModel

struct ModelDeleter {
  void operator()(Model* model) const;
};
using ModelPointer = std::unique_ptr<Model, ModelDeleter>;

struct Library {
  IntArray* (*int_array_create)(int size);
  void (*tensor_realloc)(size_t bytes, Tensor*);
  void (*add_custom)(Resolver*, const char* name, const Registration*, int version);
  void (*add_builtin)(Resolver*, int builtin_operator, const Registration*, int version);
  const Registration* (*find_builtin)(const Resolver*, int builtin_operator, int version);
  const Registration* (*find_custom)(const Resolver*, const char* name, int version);
  Status (*invoke)(Interpreter*);
  ModelPointer (*verify_and_build)(const char* bytes, size_t size, void* extra_verifier, ErrorReporter*);
  void (*destroy_model)(Model*);
};

// Opens the already loaded library at `path`, which says that it is `version`. Throws std::runtime_error when that is
// not the supported one, or when a function is missing.
void open_library(const std::string& path, const std::string& version);

// The opened library. Throws std::runtime_error before open_library.
const Library& library();

}  // namespace predictor::tflite
