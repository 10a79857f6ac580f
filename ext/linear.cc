#include "linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <utility>
#include <vector>

#include "row_math.h"

namespace predictor {

namespace {

class FloatLinear : public Linear {
 public:
  FloatLinear(const at::Tensor& weight, const at::Tensor& bias)
      : weight_(weight.to(at::kFloat).contiguous()),
        bias_(bias.defined() ? bias : at::zeros({weight.size(1)}, at::kFloat)) {}

  at::Tensor apply(const at::Tensor& x) const override { return at::addmm(bias_, x, weight_); }
  int64_t inputs() const override { return weight_.size(0); }

 private:
  const at::Tensor weight_;
  const at::Tensor bias_;
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

class Bfloat16Linear : public Linear {
 public:
  Bfloat16Linear(const at::Tensor& weight, at::Tensor bias)
      : inputs_(weight.size(0)), bias_(std::move(bias)), plain_(weight.t().to(at::kBFloat16).contiguous()) {
    try {
      packed_ = std::make_unique<PackedBfloat16>(plain_);
      packed_->apply(at::zeros({2, inputs_}, at::kBFloat16));
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
        add(out.mutable_data_ptr<float>() + row * out.size(1), bias_.const_data_ptr<float>(), width);
      }
    }
    return out;
  }
  int64_t inputs() const override { return inputs_; }

 private:
  const int64_t inputs_;
  const at::Tensor bias_;
  at::Tensor plain_;
  std::unique_ptr<PackedBfloat16> packed_;
};

// int8 weights in the order that oneDNN likes best. A call of it has a high price of its own, which large matrices gain
// back several times.
class PackedInt8 {
 public:
  PackedInt8(const at::Tensor& weight, at::Tensor scales)
      : scales_(std::move(scales)), zeros_(at::zeros({weight.size(1)}, at::kLong)) {
    const at::Tensor turned = weight.t().contiguous();
    packed_ = call("onednn::qlinear_prepack", {turned, c10::List<int64_t>({kTypicalRows, turned.size(1)})});
  }

  // Of int8 [rows, in]: the products times the columns' scales, float32.
  at::Tensor apply(const at::Tensor& x) const {
    const double same = 1;
    const int64_t zero = 0;
    return call("onednn::qlinear_pointwise", {x, same, zero, packed_, scales_, zeros_, c10::IValue(), same, zero,
                                              at::kFloat, "none", c10::List<std::optional<at::Scalar>>(), ""})
        .contiguous();
  }

 private:
  static at::Tensor call(const char* name, torch::jit::Stack arguments) {
    c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(arguments);
    return arguments.at(0).toTensor();
  }

  static constexpr int64_t kTypicalRows = 8;
  const at::Tensor scales_;
  const at::Tensor zeros_;
  at::Tensor packed_;
};

constexpr int64_t kPackedFrom = 1 << 19;  // weights

class Int8Linear : public Linear {
 public:
  Int8Linear(at::Tensor weight, at::Tensor scales, at::Tensor bias)
      : weight_(weight.contiguous()), scales_(std::move(scales)), bias_(std::move(bias)) {
    if (weight_.numel() < kPackedFrom) return;
    try {
      packed_ = std::make_unique<PackedInt8>(weight_, scales_);
      packed_->apply(at::zeros({2, inputs()}, at::kChar));
    } catch (const c10::Error&) {  // a processor or a libtorch without it
      packed_ = nullptr;
    }
  }

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const int64_t out_width = weight_.size(1);
    const at::Tensor rounded = at::empty(x.sizes(), at::kChar);
    std::vector<float> row_scales(static_cast<size_t>(rows));
    for (int64_t row = 0; row < rows; ++row) {
      row_scales[static_cast<size_t>(row)] =
          quantise(x.const_data_ptr<float>() + row * x.size(1), static_cast<size_t>(x.size(1)),
                   rounded.mutable_data_ptr<int8_t>() + row * x.size(1));
    }
    at::Tensor out = packed_ ? packed_->apply(rounded) : at::_int_mm(rounded, weight_).to(at::kFloat).mul_(scales_);
    const float* const shift = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
    for (int64_t row = 0; row < rows; ++row) {
      scale_and_shift(out.mutable_data_ptr<float>() + row * out_width, row_scales[static_cast<size_t>(row)], shift,
                      static_cast<size_t>(out_width));
    }
    return out;
  }
  int64_t inputs() const override { return weight_.size(0); }

 private:
  const at::Tensor weight_;
  const at::Tensor scales_;
  const at::Tensor bias_;
  std::unique_ptr<PackedInt8> packed_;
};

}  // namespace

std::unique_ptr<Linear> Linear::make(Precision precision, at::Tensor weight, at::Tensor scales, at::Tensor bias) {
  switch (precision) {
    case Precision::float32:
      return std::make_unique<FloatLinear>(weight, bias);
    case Precision::bfloat16:
      return std::make_unique<Bfloat16Linear>(weight, std::move(bias));
    case Precision::int8:
      return std::make_unique<Int8Linear>(std::move(weight), std::move(scales), std::move(bias));
  }
  return nullptr;
}

bool Linear::is_row_invariant(int64_t rows) const {
  const at::Tensor x = at::randn({rows, inputs()}, at::kFloat);
  const at::Tensor all = apply(x);
  for (int64_t few = 2; few <= rows; few = few < 8 ? few + 1 : few * 2) {
    if (!at::equal(apply(x.narrow(0, 0, few).contiguous()), all.narrow(0, 0, few))) return false;
    if (!at::equal(apply(x.narrow(0, rows - few, few).contiguous()), all.narrow(0, rows - few, few))) return false;
  }
  return true;
}

}  // namespace predictor
