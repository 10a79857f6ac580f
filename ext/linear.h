// Matrix products with constant weights, in three precisions: by loops of ours (panels.h) where the processor has what
// they need, else by libtorch (MKL and oneDNN below it).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "precision.h"

namespace predictor {

class Linear {
 public:
  virtual ~Linear() = default;
  // x float32 [rows, in], 2 rows at least -> float32 [rows, out], contiguous.
  virtual at::Tensor apply(const at::Tensor& x) const = 0;
  virtual int64_t inputs() const = 0;

  // `weight`: float32 or bfloat16 [in, out]; for int8 with `scales` float32 [out], the factor of each column. `bias`:
  // float32 [out], or undefined.
  static std::unique_ptr<Linear> make(Precision precision, at::Tensor weight, at::Tensor scales, at::Tensor bias);

  // Whether a row's result is the same, bit for bit, with 2 to `rows` rows and wherever it stands among them. Libraries
  // choose their loops by the shape: most do not keep to one order of additions.
  bool is_row_invariant(int64_t rows) const;
};

}  // namespace predictor
