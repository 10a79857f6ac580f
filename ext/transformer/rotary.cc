#include "transformer/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/rotary.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

// Radians a position, of each pair: float64 [rotated / 2].
at::Tensor plain_frequencies(double theta, int64_t rotated) {
  return at::pow(theta, at::arange(0, rotated, 2, at::kDouble) / -static_cast<double>(rotated));
}

// Llama 3's: slow ones by `factor`, fast ones as they are, and between the two a mixture.
at::Tensor llama3(const at::Tensor& frequencies, const Config& scaling) {
  const double factor = scaling.number("factor", 1);
  const double low = scaling.number("low_freq_factor", 1);
  const double high = scaling.number("high_freq_factor", 4);
  const double context = static_cast<double>(scaling.size("original_max_position_embeddings"));
  if (high <= low) scaling.refuse("high_freq_factor", "it must be greater than low_freq_factor");
  const at::Tensor turns = context * frequencies / (2 * std::numbers::pi);
  const at::Tensor share = ((turns - low) / (high - low)).clamp(0, 1);
  return frequencies / factor * (1 - share) + frequencies * share;
}

// YaRN (Peng et al. 2023, arXiv:2309.00071): by the number of turns that a pair makes within the first context.
at::Tensor yarn(const at::Tensor& frequencies, double theta, int64_t rotated, int64_t context, const Config& scaling) {
  const double factor = scaling.number("factor", 1);
  const auto original = static_cast<double>(scaling.size("original_max_position_embeddings", context));
  const auto dimension_of = [&](double turns) {
    return static_cast<double>(rotated) * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = dimension_of(scaling.number("beta_fast", 32));
  double high = dimension_of(scaling.number("beta_slow", 1));
  if (scaling.flag("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotated - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(rotated / 2, at::kDouble) - low) / (high - low)).clamp(0, 1);
  return frequencies / factor * ramp + frequencies * (1 - ramp);
}

// LongRoPE's (Ding et al. 2024, arXiv:2402.13753) of texts within the first context: each by a factor of its own.
at::Tensor longrope(const at::Tensor& frequencies, const Config& scaling) {
  const std::vector<double> factors = scaling.numbers("short_factor");
  scaling.ignore({"long_factor", "long_mscale", "short_mscale"});
  if (static_cast<int64_t>(factors.size()) != frequencies.numel()) {
    scaling.refuse("short_factor", "expected " + std::to_string(frequencies.numel()) + " factors, got " +
                                       std::to_string(factors.size()));
  }
  return frequencies / at::tensor(factors, at::kDouble);
}

double longrope_scale(const Config& scaling, int64_t context, int64_t original) {
  const auto first = static_cast<double>(scaling.size("original_max_position_embeddings", original));
  const double factor = scaling.number("factor", static_cast<double>(context) / first);
  if (scaling.has("attention_factor")) return scaling.number("attention_factor", 1);
  return factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(first));
}

double yarn_scale(const Config& scaling) {
  if (scaling.has("attention_factor")) return scaling.number("attention_factor", 1);
  const double factor = scaling.number("factor", 1);
  const auto of = [&](double by) { return factor <= 1 ? 1.0 : 0.1 * by * std::log(factor) + 1; };
  const double all = scaling.number("mscale_all_dim", 0);
  const double one = scaling.number("mscale", 0);
  return all > 0 && one > 0 ? of(one) / of(all) : of(1);
}

}  // namespace

Rotary::Rotary(double theta, int64_t rotated, const Execution& execution, bool interleaved)
    : rotated_(rotated), interleaved_(interleaved) {
  fill(plain_frequencies(theta, rotated), 1, execution);
}

Rotary::Rotary(double theta, int64_t rotated, const Config& scaling, int64_t context, const Execution& execution,
               int64_t original)
    : rotated_(rotated) {
  const at::Tensor frequencies = plain_frequencies(theta, rotated);
  const std::string type = scaling.text(scaling.any_of({"rope_type", "type"}), "default");
  scaling.ignore({"rope_theta", "partial_rotary_factor"});
  if (type == "default" || type == "dynamic") {
    scaling.ignore({type == "dynamic" ? "factor" : "rope_theta"});
    fill(frequencies, 1, execution);
  } else if (type == "linear") {
    fill(frequencies / scaling.number("factor", 1), 1, execution);
  } else if (type == "llama3") {
    fill(llama3(frequencies, scaling), 1, execution);
  } else if (type == "yarn") {
    fill(yarn(frequencies, theta, rotated, context, scaling), yarn_scale(scaling), execution);
  } else if (type == "longrope" || type == "su") {
    fill(longrope(frequencies, scaling), longrope_scale(scaling, context, original > 0 ? original : context),
         execution);
  } else {
    scaling.refuse("rope_type", "served are default, linear, dynamic, llama3, yarn and longrope");
  }
  scaling.finish();
}

Rotary Rotary::ntk(double theta, int64_t rotated, double factor, const Execution& execution) {
  Rotary rotary(rotated);
  const double power = std::pow(factor, 2.0 / static_cast<double>(rotated));
  rotary.fill(plain_frequencies(theta * factor, rotated) / power, 1, execution);
  return rotary;
}

void Rotary::fill(const at::Tensor& frequencies, double factor, const Execution& execution) {
  // libraries make the tables in float32
  const at::Tensor positions = at::arange(static_cast<int64_t>(execution.max_tokens), at::kFloat);
  const at::Tensor angles = at::outer(positions, frequencies.to(at::kFloat));
  cos_ = (angles.cos() * factor).to(execution.device.place());
  sin_ = (angles.sin() * factor).to(execution.device.place());
}

void Rotary::apply(int64_t position, int64_t heads, int64_t head_size, float* x) const {
  const float* const cos = cos_.const_data_ptr<float>() + position * (rotated_ / 2);
  const float* const sin = sin_.const_data_ptr<float>() + position * (rotated_ / 2);
  const auto turn = interleaved_ ? kernels::rotate_pairs : kernels::rotate;
  turn(x, cos, sin, static_cast<size_t>(heads), static_cast<size_t>(head_size), static_cast<size_t>(rotated_));
}

at::Tensor Rotary::applied(const at::Tensor& x, const at::Tensor& positions) const {
  const at::Tensor cos = cos_.index_select(0, positions).unsqueeze(1);
  const at::Tensor sin = sin_.index_select(0, positions).unsqueeze(1);
  const at::Tensor turning = x.narrow(2, 0, rotated_).to(at::kFloat);
  const at::Tensor staying = x.narrow(2, rotated_, x.size(2) - rotated_);
  const int64_t half = rotated_ / 2;
  if (interleaved_) {
    const at::Tensor pairs = turning.unflatten(2, {half, 2});
    const at::Tensor first = pairs.select(3, 0);
    const at::Tensor second = pairs.select(3, 1);
    const at::Tensor turned = at::stack({first * cos - second * sin, second * cos + first * sin}, 3).flatten(2);
    return at::cat({turned.to(x.dtype()), staying}, 2);
  }
  const at::Tensor first = turning.narrow(2, 0, half);
  const at::Tensor second = turning.narrow(2, half, half);
  const at::Tensor turned = at::cat({first * cos - second * sin, second * cos + first * sin}, 2);
  return at::cat({turned.to(x.dtype()), staying}, 2);
}

}  // namespace predictor
