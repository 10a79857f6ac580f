#include "transformer/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/activations.h"
#include "kernels/bfloat16.h"
#include "kernels/packed_gemm.h"
#include "kernels/quantization.h"
#include "transformer/loops.h"
#include "transformer/packed_products.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

class FloatLinear : public Linear {
 public:
  FloatLinear(const at::Tensor& weight, const at::Tensor& bias)
      : in_features_(weight.size(0)),
        out_features_(weight.size(1)),
        bias_(bias.defined() ? bias : at::zeros({out_features_}, at::kFloat)),
        weight_(weight.to(at::kFloat).contiguous()) {
    if (allowed_instructions() < kernels::Instructions::avx2) return;
    packed_.emplace(weight_.const_data_ptr<float>(), in_features_, out_features_, bias_.const_data_ptr<float>(),
                    allowed_instructions());
    weight_ = at::Tensor();
  }

  at::Tensor apply(const at::Tensor& x) const override {
    if (!packed_) return at::addmm(bias_, x, weight_);
    at::Tensor out = at::empty({x.size(0), out_features_}, at::kFloat);
    multiply(*packed_, x.const_data_ptr<float>(), x.size(0), out.mutable_data_ptr<float>());
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return packed_.has_value(); }

 private:
  const int64_t in_features_;
  const int64_t out_features_;
  const at::Tensor bias_;
  at::Tensor weight_;
  std::optional<kernels::PackedMatrix> packed_;
};

// Weights in the order that oneDNN likes best, which is several times as quick as reordering them in every call.
class PackedBfloat16 {
 public:
  explicit PackedBfloat16(const at::Tensor& weight)
      : packed_(c10::Dispatcher::singleton()
                    .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                    .typed<at::Tensor(const at::Tensor&, std::optional<int64_t>)>()
                    .call(weight, kTypicalRows)) {}

  at::Tensor apply(const at::Tensor& x) const {
    static const auto linear =
        c10::Dispatcher::singleton()
            .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
            .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                              c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>();
    return linear.call(x, packed_, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), "");
  }

 private:
  static constexpr int64_t kTypicalRows = 8;
  const at::Tensor packed_;
};

// Loops of ours.
class Bfloat16Linear : public Linear {
 public:
  // `weight`: bfloat16 [out, in], contiguous.
  Bfloat16Linear(const at::Tensor& weight, const at::Tensor& bias)
      : in_features_(weight.size(1)),
        packed_(static_cast<const uint16_t*>(weight.const_data_ptr()), weight.size(1), weight.size(0),
                bias.defined() ? bias.const_data_ptr<float>() : nullptr, allowed_instructions()) {}

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const auto stride = static_cast<int64_t>(packed_.in_features());
    const at::Tensor rounded = at::empty({rows, stride}, at::kBFloat16);
    auto* const bits = static_cast<uint16_t*>(rounded.mutable_data_ptr());
    const float* const numbers = x.const_data_ptr<float>();
    if (stride == in_features_) {
      kernels::float_to_bfloat16(numbers, static_cast<size_t>(rows * stride), bits);
    } else {
      for (int64_t row = 0; row < rows; ++row) {
        kernels::float_to_bfloat16(numbers + row * in_features_, static_cast<size_t>(in_features_),
                                   bits + row * stride);
        bits[(row + 1) * stride - 1] = 0;
      }
    }
    at::Tensor out = at::empty({rows, static_cast<int64_t>(packed_.out_features())}, at::kFloat);
    multiply(packed_, bits, rows, out.mutable_data_ptr<float>());
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return true; }

 private:
  const int64_t in_features_;
  const kernels::PackedMatrix packed_;
};

// oneDNN, where it has the instructions that ours have not (AMX), or ours none.
class OneDnnBfloat16Linear : public Linear {
 public:
  OneDnnBfloat16Linear(const at::Tensor& weight, at::Tensor bias)
      : in_features_(weight.size(0)), bias_(std::move(bias)), plain_(weight.t().to(at::kBFloat16).contiguous()) {
    try {
      packed_ = std::make_unique<PackedBfloat16>(plain_);
      packed_->apply(at::zeros({2, in_features_}, at::kBFloat16));
      plain_ = at::Tensor();
    } catch (const c10::Error&) {  // a processor or a libtorch without it
      packed_ = nullptr;
    }
  }

  at::Tensor apply(const at::Tensor& x) const override {
    const at::Tensor rounded = x.to(at::kBFloat16);
    at::Tensor out = (packed_ ? packed_->apply(rounded) : at::linear(rounded, plain_)).to(at::kFloat).contiguous();
    if (bias_.defined()) {
      const auto width = static_cast<size_t>(out.size(1));
      for (int64_t row = 0; row < out.size(0); ++row) {
        kernels::add(out.mutable_data_ptr<float>() + row * out.size(1), bias_.const_data_ptr<float>(), width);
      }
    }
    return out;
  }
  int64_t in_features() const override { return in_features_; }

 private:
  const int64_t in_features_;
  const at::Tensor bias_;
  at::Tensor plain_;
  std::unique_ptr<PackedBfloat16> packed_;
};

// Rows of x are rounded about their middle.
class Int8Linear : public Linear {
 public:
  // `weight`: [out, in], whole numbers; `scales`: what those of each output stand for.
  Int8Linear(const at::Tensor& weight, at::Tensor scales, at::Tensor bias)
      : in_features_(weight.size(1)),
        scales_(std::move(scales)),
        bias_(std::move(bias)),
        scaled_sums_(weight.to(at::kFloat).sum(1) * scales_),
        packed_(weight.const_data_ptr<int8_t>(), weight.size(1), weight.size(0), allowed_instructions()) {}

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const int64_t out_features = scales_.size(0);
    const auto stride = static_cast<int64_t>(packed_.in_features());
    const at::Tensor rounded = at::empty({rows, stride}, at::kByte);
    auto* const bytes = rounded.mutable_data_ptr<uint8_t>();
    std::vector<kernels::CenteredRow> row_scales;
    for (int64_t row = 0; row < rows; ++row) {
      row_scales.push_back(kernels::quantize_row(x.const_data_ptr<float>() + row * in_features_,
                                                 static_cast<size_t>(in_features_), kernels::PackedMatrix::kInt8Offset,
                                                 bytes + row * stride));
    }
    const at::Tensor sums = at::empty({rows, out_features}, at::kInt);
    multiply(packed_, bytes, rows, sums.mutable_data_ptr<int32_t>());
    at::Tensor out = at::empty({rows, out_features}, at::kFloat);
    for (int64_t row = 0; row < rows; ++row) {
      kernels::dequantize_row(sums.const_data_ptr<int32_t>() + row * out_features, scales_.const_data_ptr<float>(),
                              scaled_sums_.const_data_ptr<float>(), row_scales[static_cast<size_t>(row)],
                              bias_.defined() ? bias_.const_data_ptr<float>() : nullptr,
                              static_cast<size_t>(out_features), out.mutable_data_ptr<float>() + row * out_features);
    }
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return true; }

 private:
  const int64_t in_features_;
  const at::Tensor scales_;
  const at::Tensor bias_;
  const at::Tensor scaled_sums_;  // of each output's weights
  const kernels::PackedMatrix packed_;
};

// Instructions for whole tiles of bfloat16, which oneDNN uses and ours do not.
bool has_amx() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("amx-bf16") && allowed_instructions() >= kernels::Instructions::avx512;
#else
  return false;
#endif
}

// On a card, in the precision's type.
class OperatorLinear : public Linear {
 public:
  OperatorLinear(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType type, const c10::Device& device)
      : weight_(weight.to(device, type)), bias_(bias.defined() ? bias.to(device, type) : bias) {}

  at::Tensor apply(const at::Tensor& x) const override { return at::linear(x, weight_, bias_); }
  int64_t in_features() const override { return weight_.size(1); }

 private:
  const at::Tensor weight_;
  const at::Tensor bias_;
};

// `weight`: [out, in], as in what follows.
std::unique_ptr<Linear> make_int8(const at::Tensor& weight, const at::Tensor& bias) {
  if (weight.size(1) > static_cast<int64_t>(kernels::PackedMatrix::kMaxInt8Inputs)) {
    throw ModelError("a matrix takes " + std::to_string(weight.size(1)) + " numbers; in int8 " +
                     std::to_string(kernels::PackedMatrix::kMaxInt8Inputs) + " is the most whose sums fit 32 bits");
  }
  const at::Tensor floats = weight.to(at::kFloat);
  const at::Tensor scales = floats.abs().amax(1).clamp_min(1e-12) / 127;
  return std::make_unique<Int8Linear>((floats / scales.unsqueeze(1)).round().to(at::kChar).contiguous(), scales, bias);
}

std::unique_ptr<Linear> make_bfloat16(const at::Tensor& weight, const at::Tensor& bias, bool batch_invariant) {
  if (Linear::compiles_shapes(Precision::bfloat16) && !batch_invariant) {
    return std::make_unique<OneDnnBfloat16Linear>(weight.t(), bias);
  }
  return std::make_unique<Bfloat16Linear>(weight.to(at::kBFloat16).contiguous(), bias);
}

}  // namespace

bool Linear::compiles_shapes(Precision precision) {
  return precision == Precision::bfloat16 && (has_amx() || allowed_instructions() < kernels::Instructions::avx2);
}

std::unique_ptr<Linear> Linear::make(const Execution& execution, const at::Tensor& weight, const at::Tensor& bias) {
  if (!by_loops(execution.device)) {
    const bool is_half = execution.precision == Precision::bfloat16;
    return std::make_unique<OperatorLinear>(weight, bias, is_half ? at::kBFloat16 : at::kFloat,
                                            execution.device.place());
  }
  switch (execution.precision) {
    case Precision::float32:
      return std::make_unique<FloatLinear>(weight.t(), bias);
    case Precision::bfloat16:
      return make_bfloat16(weight, bias, execution.batch_invariant);
    case Precision::int8:
      return make_int8(weight, bias);
  }
  return nullptr;
}

std::unique_ptr<Linear> Linear::read(const WeightReader& weights, std::initializer_list<std::string> names, int64_t in,
                                     std::initializer_list<int64_t> out, bool biased, const Execution& execution) {
  std::vector<at::Tensor> matrices;
  std::vector<at::Tensor> biases;
  const int64_t* rows = out.begin();
  for (const std::string& name : names) {
    matrices.push_back(weights.tensor(name + ".weight", {*rows, in}));
    if (biased) biases.push_back(weights.floats(name + ".bias", {*rows}));
    ++rows;
  }
  const bool is_one = matrices.size() == 1;
  const at::Tensor bias = !biased ? at::Tensor() : is_one ? biases[0].clone() : at::cat(biases);
  return make(execution, is_one ? matrices[0] : at::cat(matrices), bias);
}

std::unique_ptr<Linear> Linear::read_turned(const WeightReader& weights, const std::string& name, int64_t in,
                                            int64_t out, const Execution& execution) {
  return make(execution, weights.tensor(name + ".weight", {in, out}).t(),
              weights.floats(name + ".bias", {out}).clone());
}

}  // namespace predictor
