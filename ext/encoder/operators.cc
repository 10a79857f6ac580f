#include "encoder/operators.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/library.h>

#include <cmath>
#include <optional>
#include <vector>

#include "kernels/attention.h"
#include "transformer/int8_products.h"

namespace predictor {

namespace {

void require_fit(const at::Tensor& qkv, int64_t heads, at::IntArrayRef counts, at::IntArrayRef lengths) {
  TORCH_CHECK(qkv.dim() == 2 && heads > 0 && qkv.size(1) % (3 * heads) == 0,
              "queries, keys and values do not go with the number of heads");
  TORCH_CHECK(counts.size() == lengths.size(), "there must be as many counts as lengths");
  int64_t tokens = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    TORCH_CHECK(counts[i] > 0 && lengths[i] > 0, "counts and lengths must be at least 1");
    tokens += counts[i] * lengths[i];
  }
  TORCH_CHECK(tokens == qkv.size(0), "the lengths do not add up to the tokens");
}

// Where ours cannot, or (with several threads) not as fast: each run of texts of equal length on its own.
at::Tensor attention_by_libtorch(const at::Tensor& qkv, int64_t heads, at::IntArrayRef counts,
                                 at::IntArrayRef lengths) {
  const int64_t hidden_size = qkv.size(1) / 3;
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const int64_t rows = counts[i] * lengths[i];
    const std::vector<at::Tensor> run = qkv.narrow(0, begin, rows)
                                            .view({counts[i], lengths[i], 3, heads, hidden_size / heads})
                                            .permute({2, 0, 3, 1, 4})
                                            .unbind(0);
    const at::Tensor mixed = at::scaled_dot_product_attention(run[0], run[1], run[2]);
    parts.push_back(mixed.transpose(1, 2).reshape({rows, hidden_size}));
    begin += rows;
  }
  return at::cat(parts);
}

template <typename Number>
void attend(const Number* qkv, int64_t heads, int64_t hidden_size, at::IntArrayRef counts, at::IntArrayRef lengths,
            float* out) {
  const auto head_size = static_cast<size_t>(hidden_size / heads);
  kernels::TextAttention attention({.heads = static_cast<size_t>(heads),
                                    .kv_heads = static_cast<size_t>(heads),
                                    .head_size = head_size,
                                    .scale = 1 / std::sqrt(static_cast<float>(head_size))});
  for (size_t i = 0; i < counts.size(); ++i) {
    for (int64_t text = 0; text < counts[i]; ++text) {
      attention.attend(qkv, static_cast<size_t>(lengths[i]), out);
      qkv += lengths[i] * 3 * hidden_size;
      out += lengths[i] * hidden_size;
    }
  }
}

// Multi-head attention within each of counts[i] texts of lengths[i] tokens, all one after the other: [tokens, 3 *
// hidden_size] to [tokens, hidden_size], of the same type.
at::Tensor attention(const at::Tensor& qkv, int64_t heads, at::IntArrayRef counts, at::IntArrayRef lengths) {
  require_fit(qkv, heads, counts, lengths);
  const at::ScalarType type = qkv.scalar_type();
  const bool is_known = type == at::kFloat || type == at::kBFloat16;
  if (!qkv.is_cpu() || !is_known || at::get_num_threads() > 1) {
    return attention_by_libtorch(qkv, heads, counts, lengths);
  }
  const at::Tensor numbers = qkv.contiguous();
  const int64_t hidden_size = qkv.size(1) / 3;
  at::Tensor out = at::empty({qkv.size(0), hidden_size}, at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  if (type == at::kFloat) {
    attend(numbers.const_data_ptr<float>(), heads, hidden_size, counts, lengths, to);
  } else {
    attend(reinterpret_cast<const uint16_t*>(numbers.const_data_ptr()), heads, hidden_size, counts, lengths, to);
  }
  return out.to(type);
}

}  // namespace

// Called, not left to a static object of TORCH_LIBRARY: the linker takes a file out of a library only if it is asked
// for.
void register_operators() {
  static const torch::Library library = [] {
    torch::Library made(torch::Library::DEF, "predictor", std::nullopt, __FILE__, __LINE__);
    made.def("attention(Tensor qkv, int heads, int[] counts, int[] lengths) -> Tensor", attention);
    made.def("int8_products(Tensor x, Tensor weight) -> Tensor", int8_products);
    return made;
  }();
}

}  // namespace predictor
