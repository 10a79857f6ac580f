// A model's weights by name, checked, as tensors on the processor.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "weights/weight.h"

namespace predictor {

class WeightReader {
 public:
  // `weights` must outlive this; names begin with `prefix`.
  explicit WeightReader(const Weights& weights, std::string prefix = "")
      : weights_(weights), prefix_(std::move(prefix)) {}

  // Of the weights below NAME.
  WeightReader operator[](const std::string& name) const { return WeightReader(weights_, prefix_ + name + "."); }
  WeightReader operator[](int64_t number) const { return (*this)[std::to_string(number)]; }
  // Below the first of `names` under which there is `weight`: a model is saved alone or below its name in another.
  WeightReader below_one_of(std::initializer_list<const char*> names, const std::string& weight) const;
  // Of all weights, wherever this stands.
  WeightReader root() const { return WeightReader(weights_); }

  bool has(const std::string& name) const { return find(name) != nullptr; }

  // The tensor as the file has it: float32, float16 or bfloat16, where it lies; float32 where an adapter adds to it, or
  // where it lies in blocks or groups, or is shifted.
  // Throws ModelError, naming the weight, where there is none, or not of this shape.
  at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const;
  // As float32, where it lies if it is.
  at::Tensor floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // The same, of a shape that is not known before.
  at::Tensor floats(const std::string& name) const;
  // A row of int64.
  at::Tensor whole_numbers(const std::string& name) const;
  // Its shape; empty where there is none.
  std::vector<int64_t> shape(const std::string& name) const;

 private:
  const Weight* find(const std::string& name) const;
  const Weight& get(const std::string& name) const;

  const Weights& weights_;
  const std::string prefix_;
};

}  // namespace predictor
