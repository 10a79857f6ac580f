// Matrix products with constant weights, in three precisions: by loops of ours (kernels/packed_gemm.h) or by libtorch
// (MKL and oneDNN below it). Which multiply where, and from how many rows on, is a table in docs/generation.md, "What
// multiplies".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "transformer/execution.h"
#include "transformer/weight_reader.h"

namespace predictor {

class Linear {
 public:
  virtual ~Linear() = default;
  // x float32 [rows, in] -> float32 [rows, out], contiguous. On a card both are of the precision there.
  virtual at::Tensor apply(const at::Tensor& x) const = 0;
  virtual int64_t in_features() const = 0;

  // `weight`: floats [out, in] as torch.nn.Linear has them, on the processor, rounded to the precision here; `bias`:
  // float32 [out], or undefined.
  static std::unique_ptr<Linear> make(const Execution& execution, const at::Tensor& weight, const at::Tensor& bias);

  // NAME.weight [out, in] and, if `biased`, NAME.bias of each of `names`, their outputs one after the other.
  static std::unique_ptr<Linear> read(const WeightReader& weights, std::initializer_list<std::string> names, int64_t in,
                                      std::initializer_list<int64_t> out, bool biased, const Execution& execution);
  static std::unique_ptr<Linear> read(const WeightReader& weights, const std::string& name, int64_t in, int64_t out,
                                      bool biased, const Execution& execution) {
    return read(weights, {name}, in, {out}, biased, execution);
  }

  // As GPT-2's kin have it: NAME.weight [in, out], and NAME.bias.
  static std::unique_ptr<Linear> read_turned(const WeightReader& weights, const std::string& name, int64_t in,
                                             int64_t out, const Execution& execution);

  // Whether a library multiplies that compiles a product for each number of rows: a millisecond and half a megabyte
  // each, so that callers should use few of them.
  static bool compiles_shapes(Precision precision);

  // Whether a row's result is the same bit for bit however many rows there are, and wherever it stands among them: of
  // loops of ours. Libraries choose theirs by the shape.
  virtual bool is_batch_invariant() const { return false; }
};

}  // namespace predictor
