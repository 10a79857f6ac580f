#include "tflite/operator.h"

namespace predictor::tflite {

Status refuse(Context* context, const char* name, const char* message) {
  context->report_error(context, "%s: %s. ", name, message);  // the runtime adds its own sentence behind
  return Status::kError;
}

namespace {

bool are_there(const Context* context, const IntArray* indices, int count) {
  if (!indices || indices->size != count) return false;
  for (int i = 0; i < count; ++i) {
    if (indices->data[i] < 0 || static_cast<size_t>(indices->data[i]) >= context->tensors_size) return false;
  }
  return true;
}

}  // namespace

bool has_arity(Context* context, const Node* node, const char* name, int inputs, int outputs) {
  if (are_there(context, node->inputs, inputs) && are_there(context, node->outputs, outputs)) return true;
  context->report_error(context, "%s: needs %d input(s) and %d output(s). ", name, inputs, outputs);
  return false;
}

void make_dynamic(Tensor& tensor) {
  if (tensor.allocation == Allocation::kDynamic) return;
  tensor.allocation = Allocation::kDynamic;
  tensor.data = nullptr;
  tensor.bytes = 0;
}

Status resize(Context* context, Tensor& tensor, int size) {
  if (tensor.data && tensor.dims->size == 1 && tensor.dims->data[0] == size) return Status::kOk;
  IntArray* shape = library().int_array_create(1);
  shape->data[0] = size;
  return context->resize_tensor(context, &tensor, shape);
}

}  // namespace predictor::tflite
