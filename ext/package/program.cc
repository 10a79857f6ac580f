#include "package/program.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <sstream>
#include <stdexcept>

#include "weights/model_error.h"

namespace predictor {

namespace {

// More than another order of additions makes over all layers, less than any change that matters.
constexpr double kRounding = 1e-4, kReducedRounding = 3e-2;

at::Tensor run_sample(const Program& program, int64_t texts, int64_t length, int64_t padding_id) {
  const at::Tensor ids = at::full({texts, length}, padding_id == 0 ? 1 : 0, at::kLong);
  const PaddedTexts padded{ids, at::ones_like(ids), at::zeros_like(ids)};
  std::ostringstream sizes;
  sizes << "[" << texts << ", " << length << "]";
  try {
    const at::Tensor output = program.run(padded);
    if (output.dim() < 2 || output.dim() > 3) {
      std::ostringstream given;
      given << output.sizes();
      throw ModelError("for token ids of " + sizes.str() + " it gives a tensor of " + given.str() +
                       "; expected [texts, tokens, n] or [texts, n]");
    }
    if (!at::isFloatingType(output.scalar_type())) throw ModelError("it gives whole numbers; expected real ones");
    require_output(output, padded, {output.dim() == 3, output.size(-1), 0});
    return output;
  } catch (const ModelError&) {
    throw;
  } catch (const std::exception& error) {
    throw ModelError("it fails on token ids of " + sizes.str() + ": " + reason(error));
  }
}

}  // namespace

ProgramOutput output_of(const Program& program, int64_t padding_id) {
  const c10::InferenceMode inference;
  const at::Tensor one = run_sample(program, 1, 7, padding_id);
  const at::Tensor other = run_sample(program, 1, 13, padding_id);
  const bool is_reduced = at::isReducedFloatingType(one.scalar_type());
  const ProgramOutput output{one.dim() == 3, one.size(-1), is_reduced ? kReducedRounding : kRounding};
  if (output.of_tokens != (other.dim() == 3) || output.columns != other.size(-1)) {
    throw ModelError("what it gives depends on the length: texts of 7 and of 13 tokens have " +
                     std::to_string(one.size(-1)) + " and " + std::to_string(other.size(-1)) + " numbers");
  }
  return output;
}

void try_text(const Program& program, const ProgramOutput& expected, int64_t id, int64_t length) {
  const c10::InferenceMode inference;
  const at::Tensor ids = at::full({1, length}, id, at::kLong);
  at::Tensor types = at::zeros_like(ids);
  types.narrow(1, length / 2, length - length / 2).fill_(1);
  const PaddedTexts text{ids, at::ones_like(ids), types};
  try {
    require_output(program.run(text), text, expected);
  } catch (const std::exception& error) {
    throw ModelError("it fails on a text of " + std::to_string(length) + " tokens with the id " + std::to_string(id) +
                     ": " + reason(error));
  }
}

void require_output(const at::Tensor& output, const PaddedTexts& texts, const ProgramOutput& expected) {
  const bool fits = output.dim() == (expected.of_tokens ? 3 : 2) && output.size(0) == texts.ids.size(0) &&
                    output.size(-1) == expected.columns && (!expected.of_tokens || output.size(1) == texts.ids.size(1));
  if (fits) return;
  std::ostringstream given;
  given << "the model gave a tensor of " << output.sizes() << " for token ids of " << texts.ids.sizes();
  throw std::runtime_error(given.str());
}

}  // namespace predictor
