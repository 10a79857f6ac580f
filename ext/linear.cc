#include "linear.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "panels.h"
#include "row_math.h"

namespace predictor {

namespace {

// libtorch has its own idea of what the processor can do, which ATEN_CPU_CAPABILITY may lower.
bool allows_avx512() {
  static const bool allows = at::get_cpu_capability().starts_with("AVX512");
  return allows;
}

template <typename In, typename Out>
void multiply(const Panels& panels, const In* x, int64_t rows, Out* y) {
  constexpr int64_t kGrain = 1 << 21;  // multiplications that make another thread worth while
  const auto count = static_cast<int64_t>(panels.count());
  const int64_t of_panel = std::max<int64_t>(rows * static_cast<int64_t>(panels.inputs() * Panels::kColumns), 1);
  at::parallel_for(0, count, 1 + kGrain / of_panel, [&](int64_t begin, int64_t end) {
    panels.multiply(x, static_cast<size_t>(rows), static_cast<size_t>(begin), static_cast<size_t>(end), y);
  });
}

class FloatLinear : public Linear {
 public:
  FloatLinear(const at::Tensor& weight, const at::Tensor& bias)
      : inputs_(weight.size(0)),
        outputs_(weight.size(1)),
        bias_(bias.defined() ? bias : at::zeros({outputs_}, at::kFloat)),
        weight_(weight.to(at::kFloat).contiguous()) {
    if (!allows_avx512() || !Panels::multiply_floats()) return;
    panels_.emplace(weight_.const_data_ptr<float>(), inputs_, outputs_, bias_.const_data_ptr<float>());
    weight_ = at::Tensor();
  }

  at::Tensor apply(const at::Tensor& x) const override {
    if (!panels_) return at::addmm(bias_, x, weight_);
    at::Tensor out = at::empty({x.size(0), outputs_}, at::kFloat);
    multiply(*panels_, x.const_data_ptr<float>(), x.size(0), out.mutable_data_ptr<float>());
    return out;
  }
  int64_t inputs() const override { return inputs_; }

 private:
  const int64_t inputs_;
  const int64_t outputs_;
  const at::Tensor bias_;
  at::Tensor weight_;
  std::optional<Panels> panels_;
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

class Int8Linear : public Linear {
 public:
  Int8Linear(at::Tensor weight, at::Tensor scales, at::Tensor bias)
      : inputs_(weight.size(0)), scales_(std::move(scales)), bias_(std::move(bias)), weight_(weight.contiguous()) {
    if (!allows_avx512() || !Panels::multiply_int8() || inputs_ % 4 != 0) return;
    panels_.emplace(weight_.const_data_ptr<int8_t>(), inputs_, scales_.size(0));
    weight_ = at::Tensor();
  }

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const int64_t outputs = scales_.size(0);
    const at::Tensor rounded = at::empty(x.sizes(), panels_ ? at::kByte : at::kChar);
    auto* const bytes = static_cast<uint8_t*>(rounded.mutable_data_ptr());
    std::vector<float> row_scales;
    for (int64_t row = 0; row < rows; ++row) {
      row_scales.push_back(quantise(x.const_data_ptr<float>() + row * inputs_, static_cast<size_t>(inputs_),
                                    panels_ ? Panels::kOffset : 0, bytes + row * inputs_));
    }
    const at::Tensor sums = panels_ ? at::empty({rows, outputs}, at::kInt) : at::_int_mm(rounded, weight_);
    if (panels_) multiply(*panels_, bytes, rows, sums.mutable_data_ptr<int32_t>());
    at::Tensor out = at::empty({rows, outputs}, at::kFloat);
    const float* const shift = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
    for (int64_t row = 0; row < rows; ++row) {
      rescale(sums.const_data_ptr<int32_t>() + row * outputs, scales_.const_data_ptr<float>(),
              row_scales[static_cast<size_t>(row)], shift, static_cast<size_t>(outputs),
              out.mutable_data_ptr<float>() + row * outputs);
    }
    return out;
  }
  int64_t inputs() const override { return inputs_; }

 private:
  const int64_t inputs_;
  const at::Tensor scales_;
  const at::Tensor bias_;
  at::Tensor weight_;
  std::optional<Panels> panels_;
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
