#include "transformer/linear.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/activations.h"
#include "kernels/bfloat16.h"
#include "kernels/packed_gemm.h"
#include "kernels/packed_int4.h"
#include "kernels/quantization.h"
#include "transformer/loops.h"
#include "transformer/packed_products.h"
#include "transformer/threads.h"
#include "weights/mapped_file.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

// A weight, [out, in], in parts that lie one below the other.
using Matrices = std::vector<at::Tensor>;

int64_t in_of(const Matrices& weight) {
  return weight[0].size(1);
}

int64_t out_of(const Matrices& weight) {
  int64_t out = 0;
  for (const at::Tensor& part : weight) out += part.size(0);
  return out;
}

at::Tensor whole(const Matrices& weight) {
  return weight.size() == 1 ? weight[0] : at::cat(weight);
}

// Calls `pack` with the number of a first row and a few rows, contiguous and of this type, until all were given, by
// several threads: so that what is packed is not in memory a second time as well, and leaves no holes between what
// stays. Mapped pages are given back when they are read.
template <typename Pack>
void pack_rows(const Matrices& weight, at::ScalarType type, const Pack& pack) {
  constexpr int64_t kRows = 32;
  int64_t before = 0;
  for (const at::Tensor& part : weight) {
    const int64_t out = part.size(0);
    at::parallel_for(0, (out + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
      const c10::InferenceMode inference;
      for (int64_t first = begin * kRows; first < std::min(end * kRows, out); first += kRows) {
        const at::Tensor rows = part.narrow(0, first, std::min(kRows, out - first));
        pack(before + first, rows.to(type).contiguous());
        if (rows.is_contiguous()) MappedFile::forget(rows.const_data_ptr(), rows.nbytes());
      }
    });
    before += out;
  }
}

// Calls `function` with each of the rows' numbers; `size`: of a row.
template <typename Function>
void for_rows(int64_t rows, int64_t size, const Function& function) {
  constexpr int64_t kGrain = 1 << 15;  // numbers that make another thread worth while
  share_out(rows, 1 + kGrain / std::max<int64_t>(size, 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) function(row);
  });
}

const float* numbers_of(const at::Tensor& bias) {
  return bias.defined() ? bias.const_data_ptr<float>() : nullptr;
}

kernels::PackedMatrix empty_matrix(kernels::PackedMatrix::Numbers numbers, const Matrices& weight,
                                   const at::Tensor& bias) {
  return {numbers, static_cast<size_t>(in_of(weight)), static_cast<size_t>(out_of(weight)), numbers_of(bias),
          allowed_instructions()};
}

kernels::PackedMatrix packed_floats(const Matrices& weight, const at::Tensor& bias) {
  kernels::PackedMatrix packed = empty_matrix(kernels::PackedMatrix::Numbers::float32, weight, bias);
  pack_rows(weight, at::kFloat, [&](int64_t first, const at::Tensor& rows) {
    packed.pack(static_cast<size_t>(first), rows.const_data_ptr<float>(), static_cast<size_t>(rows.size(0)));
  });
  return packed;
}

kernels::PackedMatrix packed_bfloat16(const Matrices& weight, const at::Tensor& bias) {
  kernels::PackedMatrix packed = empty_matrix(kernels::PackedMatrix::Numbers::bfloat16, weight, bias);
  pack_rows(weight, at::kBFloat16, [&](int64_t first, const at::Tensor& rows) {
    packed.pack(static_cast<size_t>(first), static_cast<const uint16_t*>(rows.const_data_ptr()),
                static_cast<size_t>(rows.size(0)));
  });
  return packed;
}

class FloatLinear : public Linear {
 public:
  FloatLinear(const Matrices& weight, const at::Tensor& bias)
      : in_features_(in_of(weight)), packed_(packed_floats(weight, bias)) {}

  at::Tensor apply(const at::Tensor& x) const override {
    at::Tensor out = at::empty({x.size(0), static_cast<int64_t>(packed_.out_features())}, at::kFloat);
    multiply(packed_, x.const_data_ptr<float>(), x.size(0), out.mutable_data_ptr<float>());
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return true; }

 private:
  const int64_t in_features_;
  const kernels::PackedMatrix packed_;
};

// By libtorch's library, for processors that our loops are not for.
class LibraryFloatLinear : public Linear {
 public:
  LibraryFloatLinear(const at::Tensor& weight, const at::Tensor& bias)
      : bias_(bias.defined() ? bias : at::zeros({weight.size(0)}, at::kFloat)),
        weight_(weight.t().to(at::kFloat).contiguous()) {}

  at::Tensor apply(const at::Tensor& x) const override { return at::addmm(bias_, x, weight_); }
  int64_t in_features() const override { return weight_.size(0); }

 private:
  const at::Tensor bias_;
  const at::Tensor weight_;  // [in, out]
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
  Bfloat16Linear(const Matrices& weight, const at::Tensor& bias)
      : in_features_(in_of(weight)), packed_(packed_bfloat16(weight, bias)) {}

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const auto stride = static_cast<int64_t>(packed_.in_features());
    const at::Tensor rounded = at::empty({rows, stride}, at::kBFloat16);
    auto* const bits = static_cast<uint16_t*>(rounded.mutable_data_ptr());
    const float* const numbers = x.const_data_ptr<float>();
    for_rows(rows, in_features_, [&](int64_t row) {
      kernels::float_to_bfloat16(numbers + row * in_features_, static_cast<size_t>(in_features_), bits + row * stride);
      if (stride > in_features_) bits[(row + 1) * stride - 1] = 0;
    });
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

// oneDNN, where our loops have no instructions for it.
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
  Int8Linear(const Matrices& weight, at::Tensor bias)
      : in_features_(in_of(weight)),
        bias_(std::move(bias)),
        scales_(static_cast<size_t>(out_of(weight))),
        scaled_sums_(scales_.size()),
        packed_(empty_matrix(kernels::PackedMatrix::Numbers::int8, weight, at::Tensor())) {
    pack_rows(weight, at::kFloat, [this](int64_t first, const at::Tensor& rows) {
      const auto size = static_cast<size_t>(in_features_);
      std::vector<int8_t> bytes(static_cast<size_t>(rows.size(0)) * size);
      for (int64_t row = 0; row < rows.size(0); ++row) {
        int8_t* const to = bytes.data() + static_cast<size_t>(row) * size;
        const float scale = kernels::quantize_weights(rows.const_data_ptr<float>() + row * in_features_, size, to);
        const auto column = static_cast<size_t>(first + row);
        scales_[column] = scale;
        scaled_sums_[column] = static_cast<float>(std::accumulate(to, to + size, 0)) * scale;
      }
      packed_.pack(static_cast<size_t>(first), bytes.data(), static_cast<size_t>(rows.size(0)));
    });
  }

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const auto out_features = static_cast<int64_t>(scales_.size());
    const auto stride = static_cast<int64_t>(packed_.in_features());
    const at::Tensor rounded = at::empty({rows, stride}, at::kByte);
    auto* const bytes = rounded.mutable_data_ptr<uint8_t>();
    std::vector<kernels::CenteredRow> row_scales(static_cast<size_t>(rows));
    for_rows(rows, in_features_, [&](int64_t row) {
      row_scales[static_cast<size_t>(row)] =
          kernels::quantize_row(x.const_data_ptr<float>() + row * in_features_, static_cast<size_t>(in_features_),
                                kernels::PackedMatrix::kInt8Offset, bytes + row * stride);
    });
    const at::Tensor sums = at::empty({rows, out_features}, at::kInt);
    at::Tensor out = at::empty({rows, out_features}, at::kFloat);
    const auto* const whole = sums.const_data_ptr<int32_t>();
    auto* const numbers = out.mutable_data_ptr<float>();
    multiply(packed_, bytes, rows, sums.mutable_data_ptr<int32_t>(), [&](size_t begin, size_t end) {
      for (int64_t row = 0; row < rows; ++row) {
        const size_t at = static_cast<size_t>(row * out_features) + begin;
        kernels::dequantize_row(whole + at, scales_.data() + begin, scaled_sums_.data() + begin,
                                row_scales[static_cast<size_t>(row)],
                                bias_.defined() ? numbers_of(bias_) + begin : nullptr, end - begin, numbers + at);
      }
    });
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return true; }

 private:
  const int64_t in_features_;
  const at::Tensor bias_;
  std::vector<float> scales_;       // what the whole numbers of each output stand for
  std::vector<float> scaled_sums_;  // of each output's weights
  kernels::PackedMatrix packed_;
};

// Weights in 4 bits. Rows of x are rounded as for int8.
class Int4Linear : public Linear {
 public:
  Int4Linear(const Matrices& weight, at::Tensor bias)
      : in_features_(in_of(weight)),
        bias_(std::move(bias)),
        packed_(static_cast<size_t>(in_features_), static_cast<size_t>(out_of(weight)), allowed_instructions()) {
    pack_rows(weight, at::kFloat, [this](int64_t first, const at::Tensor& rows) {
      packed_.pack(static_cast<size_t>(first), rows.const_data_ptr<float>(), static_cast<size_t>(rows.size(0)));
    });
  }

  at::Tensor apply(const at::Tensor& x) const override {
    const int64_t rows = x.size(0);
    const auto out_features = static_cast<int64_t>(packed_.out_features());
    const auto stride = static_cast<int64_t>(packed_.in_features());
    const auto groups = static_cast<int64_t>(packed_.groups());
    const at::Tensor rounded = at::empty({rows, stride}, at::kByte);
    const at::Tensor offsets = at::empty({rows, groups}, at::kInt);
    auto* const bytes = rounded.mutable_data_ptr<uint8_t>();
    auto* const whole = reinterpret_cast<int8_t*>(bytes);
    auto* const of_groups = offsets.mutable_data_ptr<int32_t>();
    std::vector<kernels::CenteredRow> row_scales(static_cast<size_t>(rows));
    for_rows(rows, in_features_, [&](int64_t row) {
      row_scales[static_cast<size_t>(row)] = kernels::quantize_row(
          x.const_data_ptr<float>() + row * in_features_, static_cast<size_t>(in_features_), 0, bytes + row * stride);
      std::fill(whole + row * stride + in_features_, whole + (row + 1) * stride, int8_t{0});
      kernels::group_offsets(whole + row * stride, packed_.groups(), of_groups + row * groups);
    });
    at::Tensor out = at::empty({rows, out_features}, at::kFloat);
    auto* const y = out.mutable_data_ptr<float>();
    const auto product = [&](size_t first, size_t last) {
      packed_.multiply(whole, of_groups, static_cast<size_t>(rows), first, last, y);
    };
    share_blocks(packed_, rows, product, [&](size_t begin, size_t end) {
      for (int64_t row = 0; row < rows; ++row) {
        const kernels::CenteredRow& scaled = row_scales[static_cast<size_t>(row)];
        kernels::finish_int4_row(y + row * out_features + begin, scaled.scale, scaled.middle,
                                 packed_.column_sums().data() + begin,
                                 bias_.defined() ? numbers_of(bias_) + begin : nullptr, end - begin);
      }
    });
    return out;
  }
  int64_t in_features() const override { return in_features_; }
  bool is_batch_invariant() const override { return true; }

 private:
  const int64_t in_features_;
  const at::Tensor bias_;
  kernels::PackedInt4Matrix packed_;
};

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

std::unique_ptr<Linear> make_int8(const Matrices& weight, const at::Tensor& bias) {
  if (in_of(weight) > static_cast<int64_t>(kernels::PackedMatrix::kMaxInt8Inputs)) {
    throw ModelError("a matrix takes " + std::to_string(in_of(weight)) + " numbers; in int8 " +
                     std::to_string(kernels::PackedMatrix::kMaxInt8Inputs) + " is the most whose sums fit 32 bits");
  }
  return std::make_unique<Int8Linear>(weight, bias);
}

std::unique_ptr<Linear> make_bfloat16(const Matrices& weight, const at::Tensor& bias, bool batch_invariant) {
  if (Linear::compiles_shapes(Precision::bfloat16) && !batch_invariant) {
    return std::make_unique<OneDnnBfloat16Linear>(whole(weight).t(), bias);
  }
  return std::make_unique<Bfloat16Linear>(weight, bias);
}

std::unique_ptr<Linear> make_of(const Execution& execution, const Matrices& weight, const at::Tensor& bias) {
  if (!by_loops(execution.device)) {
    const bool is_half = execution.precision == Precision::bfloat16;
    return std::make_unique<OperatorLinear>(whole(weight), bias, is_half ? at::kBFloat16 : at::kFloat,
                                            execution.device.place());
  }
  switch (execution.precision) {
    case Precision::float32:
      if (allowed_instructions() < kernels::Instructions::avx2) {
        return std::make_unique<LibraryFloatLinear>(whole(weight), bias);
      }
      return std::make_unique<FloatLinear>(weight, bias);
    case Precision::bfloat16:
      return make_bfloat16(weight, bias, execution.batch_invariant);
    case Precision::int8:
      return make_int8(weight, bias);
    case Precision::int4:
      return std::make_unique<Int4Linear>(weight, bias);
  }
  return nullptr;
}

}  // namespace

bool Linear::compiles_shapes(Precision precision) {
  return precision == Precision::bfloat16 && allowed_instructions() < kernels::Instructions::avx2;
}

std::unique_ptr<Linear> Linear::make(const Execution& execution, const at::Tensor& weight, const at::Tensor& bias) {
  return make_of(execution, {weight}, bias);
}

std::unique_ptr<Linear> Linear::read(const WeightReader& weights, std::initializer_list<std::string> names, int64_t in,
                                     std::initializer_list<int64_t> out, bool biased, const Execution& execution) {
  Matrices matrices;
  std::vector<at::Tensor> biases;
  const int64_t* rows = out.begin();
  for (const std::string& name : names) {
    matrices.push_back(weights.tensor(name + ".weight", {*rows, in}));
    if (biased) biases.push_back(weights.floats(name + ".bias", {*rows}));
    ++rows;
  }
  const at::Tensor bias = !biased ? at::Tensor() : biases.size() == 1 ? biases[0].clone() : at::cat(biases);
  return make_of(execution, matrices, bias);
}

std::unique_ptr<Linear> Linear::read_turned(const WeightReader& weights, const std::string& name, int64_t in,
                                            int64_t out, const Execution& execution) {
  const at::Tensor weight = weights.tensor(name + ".weight", {in, out});
  auto linear = make(execution, weight.t(), weights.floats(name + ".bias", {out}).clone());
  MappedFile::forget(weight.const_data_ptr(), weight.nbytes());
  return linear;
}

}  // namespace predictor
