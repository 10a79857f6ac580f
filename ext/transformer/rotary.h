// Rotary positions (Su et al. 2021, arXiv:2104.09864), with the scalings of their frequencies in use.
#pragma once

#include <ATen/core/Tensor.h>

#include "transformer/execution.h"
#include "weights/config.h"

namespace predictor {

class Rotary {
 public:
  // Of the first `rotated` numbers of each head, for the positions below execution.max_tokens. `interleaved`: pairs of
  // neighbours turn, else number i with number i + rotated / 2.
  Rotary(double theta, int64_t rotated, const Execution& execution, bool interleaved = false);
  // With the scaling that `scaling` describes (rope_parameters or rope_scaling of a config.json): default, linear,
  // dynamic, llama3, yarn or longrope; `context`: max_position_embeddings; `original`: the first context of longrope,
  // where `scaling` does not say it. Dynamic and longrope hold for texts within those two. Throws ModelError for
  // another.
  Rotary(double theta, int64_t rotated, const Config& scaling, int64_t context, const Execution& execution,
         int64_t original = 0);

  // GTE's: theta grows by the factor, and the frequencies shrink by a power of it.
  static Rotary ntk(double theta, int64_t rotated, double factor, const Execution& execution);

  // Turns `heads` heads of `head_size` numbers of the token at `position`.
  void apply(int64_t position, int64_t heads, int64_t head_size, float* x) const;

  // [tokens, heads, head_size] by libtorch's operators, positions int64 [tokens] on the device.
  at::Tensor applied(const at::Tensor& x, const at::Tensor& positions) const;

 private:
  explicit Rotary(int64_t rotated) : rotated_(rotated) {}
  void fill(const at::Tensor& frequencies, double factor, const Execution& execution);

  int64_t rotated_;
  bool interleaved_ = false;
  at::Tensor cos_;  // float32 [max_tokens, rotated / 2]
  at::Tensor sin_;
};

}  // namespace predictor
