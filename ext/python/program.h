// A program that Python runs: a library's session that releases the GIL while it computes.
#pragma once

#include <ATen/ops/empty.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "package/program.h"

namespace predictor {

namespace py = pybind11;

class PythonProgram : public Program {
 public:
  // `run(ids, mask, types)`: three memoryviews of int64 [texts, length], which end with the call; it gives a buffer of
  // float32, row after row.
  explicit PythonProgram(py::object run) : run_(std::move(run)) {}
  ~PythonProgram() override {
    py::gil_scoped_acquire locked;
    run_ = py::object();
  }

  at::Tensor run(const PaddedTexts& texts) const override {
    py::gil_scoped_acquire locked;
    try {
      return copied(run_(view(texts.ids), view(texts.mask), view(texts.types)));
    } catch (const py::error_already_set& error) {
      throw std::runtime_error(error.what());  // which needs no GIL
    }
  }

 private:
  static py::memoryview view(const at::Tensor& tensor) {
    const auto rows = static_cast<py::ssize_t>(tensor.size(0)), length = static_cast<py::ssize_t>(tensor.size(1));
    const auto size = static_cast<py::ssize_t>(sizeof(int64_t));
    return py::memoryview::from_buffer(tensor.const_data_ptr<int64_t>(), {rows, length}, {length * size, size});
  }

  static at::Tensor copied(const py::object& given) {
    const py::buffer_info info = given.cast<py::buffer>().request();
    if (info.format != py::format_descriptor<float>::format()) throw std::runtime_error("the model gave no float32");
    const std::vector<int64_t> shape(info.shape.begin(), info.shape.end());
    at::Tensor tensor = at::empty(shape, at::kFloat);
    std::copy_n(static_cast<const float*>(info.ptr), tensor.numel(), tensor.mutable_data_ptr<float>());
    return tensor;
  }

  py::object run_;
};

}  // namespace predictor
