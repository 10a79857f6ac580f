// A row of numbers for each token, kept as the file has it: mapped, and read where a text asks for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "transformer/execution.h"
#include "transformer/weight_reader.h"

namespace predictor {

class Embedding {
 public:
  // The weight NAME, [rows, size] floats. Throws ModelError.
  Embedding(const WeightReader& weights, const std::string& name, int64_t rows, int64_t size)
      : weight_(weights.tensor(name, {rows, size})) {}

  // Of a tensor [rows, size] of floats.
  explicit Embedding(at::Tensor weight) : weight_(std::move(weight)) {}

  int64_t rows() const { return weight_.size(0); }
  int64_t size() const { return weight_.size(1); }
  const at::Tensor& weight() const { return weight_; }

  // out = the row, or out += the row; out: `size` floats. `row` below rows().
  void read(int64_t row, float* out) const;
  void add(int64_t row, float* out) const;

 private:
  template <bool Adds>
  void take(int64_t row, float* out) const;

  at::Tensor weight_;
};

}  // namespace predictor
