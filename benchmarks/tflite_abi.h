// The part of TensorFlow Lite's binary interface that a custom operator touches, for tflite-runtime 2.14.0 on 64 bits.
// Only what is compared with needs it: serving does without.
//
// The wheel is the runtime that everyone can install, but it ships no headers. These declarations repeat, field for
// field, what its library was compiled with (tensorflow/lite/core/c/common.h and c/builtin_op_data.h of release 2.14);
// names that nothing here reads are kept only for the place that they take. The layout changes between releases, and
// tensors are indexed as an array, so the size of Tensor matters as much as its fields: stock_operators.cc refuses
// every other version.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stock {

inline constexpr char kSupportedVersion[] = "2.14.0";

enum class Status : int { kOk = 0, kError = 1 };

enum class Type : int { kNone = 0, kFloat32 = 1, kInt32 = 2, kUInt8 = 3, kInt64 = 4, kString = 5 };

enum class Allocation : int { kNone = 0, kReadOnly = 1, kArena = 2, kArenaPersistent = 3, kDynamic = 4 };

struct IntArray {
  int size;
  int data[];
};

struct Tensor {
  Type type;
  union {
    void* data;
    char* bytes_data;
    int32_t* int32_data;
    float* float_data;
  };
  IntArray* dims;
  float scale;
  int32_t zero_point;
  Allocation allocation;
  size_t bytes;
  const void* allocation_object;
  const char* name;
  void* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  int quantization_type;
  void* quantization;
  void* sparsity;
  const IntArray* dims_signature;
};
static_assert(sizeof(Tensor) == 112);

struct Node {
  IntArray* inputs;  // indices into Context::tensors; -1 stands for an optional input that is not there
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;  // what Registration::init returned
  const void* builtin_data;
};

struct Context {
  size_t tensors_size;
  Status (*get_execution_plan)(Context*, IntArray**);
  Tensor* tensors;
  void* impl;
  Status (*resize_tensor)(Context*, Tensor*, IntArray* size);  // takes ownership of size
  void (*report_error)(Context*, const char* format, ...);
};

struct Registration {
  void* (*init)(Context*, const char* options, size_t length);
  void (*free)(Context*, void* user_data);
  Status (*prepare)(Context*, Node*);
  Status (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
};
static_assert(sizeof(Registration) == 88);

}  // namespace stock
