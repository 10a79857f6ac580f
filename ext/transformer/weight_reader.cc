#include "transformer/weight_reader.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include <cstring>
#include <optional>

#include "weights/ggml_blocks.h"
#include "weights/grouped_matrix.h"
#include "weights/mapped_file.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

std::string text(const std::vector<int64_t>& shape) {
  std::string joined;
  for (const int64_t size : shape) joined += (joined.empty() ? "[" : ", ") + std::to_string(size);
  return joined.empty() ? "[]" : joined + "]";
}

constexpr int64_t kBlocksGrain = 4096;  // that make another thread worth while
constexpr int64_t kOutputsGrain = 16;   // the same; neighbours lie in the same words, or lines of the cache

std::optional<at::ScalarType> scalar_type(const std::string& dtype) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "F64") return at::kDouble;
  return std::nullopt;
}

// Old checkpoints call a norm's weight and bias so.
std::string old_name(const std::string& name) {
  if (name.ends_with("Norm.weight")) return name.substr(0, name.size() - 6) + "gamma";
  if (name.ends_with("Norm.bias")) return name.substr(0, name.size() - 4) + "beta";
  return name;
}

// The floats of blocks, row after row. Throws ModelError, naming the weight.
at::Tensor read_blocks(const Weight& weight, const GgmlBlocks& blocks, const std::string& name,
                       const std::vector<int64_t>& shape) {
  at::Tensor numbers = at::empty(shape, at::kFloat);
  const auto count = static_cast<size_t>(numbers.numel());
  const bool fits = count % blocks.numbers == 0 && count / blocks.numbers * blocks.bytes == weight.bytes.size();
  if (!fits) throw ModelError("weight " + name + " is cut short");
  auto* const to = numbers.mutable_data_ptr<float>();
  const auto last = static_cast<int64_t>(count / blocks.numbers);
  at::parallel_for(0, last, kBlocksGrain, [&](int64_t first, int64_t end) {
    for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(end); ++i) {
      blocks.read(weight.bytes.data() + i * blocks.bytes, to + i * blocks.numbers);
    }
  });
  return numbers;
}

// Rows in the model's order. Throws ModelError, naming the weight.
at::Tensor unpaired(const at::Tensor& rows, int64_t heads, const std::string& name) {
  if (rows.size(0) % (2 * heads) != 0) {
    throw ModelError("weight " + name + " has " + std::to_string(rows.size(0)) + " rows, not as many for each of " +
                     std::to_string(heads) + " heads");
  }
  const at::Tensor pairs = rows.unflatten(0, {heads, rows.size(0) / heads / 2, 2});
  return pairs.transpose(1, 2).flatten(0, 2).contiguous();
}

// `weight`, of this shape, as it lies. Throws ModelError, naming it.
at::Tensor read(const Weight& weight, const std::string& name, const std::vector<int64_t>& shape) {
  if (const GgmlBlocks* const blocks = ggml_blocks(weight.dtype)) return read_blocks(weight, *blocks, name, shape);
  const std::optional<at::ScalarType> type = scalar_type(weight.dtype);
  if (!type) {
    throw ModelError("weight " + name + " is of type " + weight.dtype + "; expected F32, F16 or BF16, or of GGUF " +
                     ggml_block_types() + " (other quantised weights are not served: save them as floats)");
  }
  size_t size = c10::elementSize(*type);
  for (const int64_t count : shape) size *= static_cast<size_t>(count);
  if (size != weight.bytes.size()) throw ModelError("weight " + name + " is cut short");
  const auto address = reinterpret_cast<uintptr_t>(weight.bytes.data());
  if (address % c10::elementSize(*type) == 0) {
    return at::from_blob(const_cast<char*>(weight.bytes.data()), shape, *type);
  }
  at::Tensor copy = at::empty(shape, *type);
  std::memcpy(copy.mutable_data_ptr(), weight.bytes.data(), size);
  return copy;
}

// The floats of whole numbers in groups. Throws ModelError, naming the weight.
at::Tensor read_groups(const Weight& weight, const std::string& name, const std::vector<int64_t>& shape) {
  const GroupedMatrix matrix(weight, name);
  const Weight& of_scales = weight.grouped->scales;
  const at::Tensor scales = read(of_scales, name + " (scales)", of_scales.shape).to(at::kFloat).contiguous();
  const at::Tensor numbers = at::empty(shape, at::kFloat);
  auto* const to = numbers.mutable_data_ptr<float>();
  at::parallel_for(0, shape[0], kOutputsGrain, [&](int64_t first, int64_t last) {
    matrix.read(static_cast<size_t>(first), static_cast<size_t>(last), scales.const_data_ptr<float>(),
                to + first * shape[1]);
  });
  MappedFile::forget(weight.bytes.data(), weight.bytes.size());
  return numbers;
}

// With what an adapter adds: float32.
at::Tensor merged(const at::Tensor& matrix, const LowRank& added, const std::string& name) {
  const std::vector<int64_t>& down = added.down.shape;
  const std::vector<int64_t>& up = added.up.shape;
  const bool fits = matrix.dim() == 2 && down.size() == 2 && up.size() == 2 && up[1] == down[0] &&
                    up[0] == matrix.size(added.turned ? 1 : 0) && down[1] == matrix.size(added.turned ? 0 : 1);
  if (!fits) {
    throw ModelError("weight " + name + " is of shape " + text(matrix.sizes().vec()) + "; the adapter's " + text(up) +
                     " and " + text(down) + " do not go with it");
  }
  const at::Tensor product = at::mm(read(added.up, name + " (adapter)", up).to(at::kFloat),
                                    read(added.down, name + " (adapter)", down).to(at::kFloat));
  return at::add(matrix.to(at::kFloat), added.turned ? product.t() : product, added.scale);
}

}  // namespace

WeightReader WeightReader::below_one_of(std::initializer_list<const char*> names, const std::string& weight) const {
  for (const std::string name : names) {
    const WeightReader below = name.empty() ? *this : (*this)[name];
    if (below.has(weight)) return below;
  }
  throw ModelError("there is no weight " + prefix_ + weight);
}

const Weight* WeightReader::find(const std::string& name) const {
  for (const std::string& each : {prefix_ + name, old_name(prefix_ + name)}) {
    const auto found = weights_.find(each);
    if (found != weights_.end()) return &found->second;
  }
  return nullptr;
}

const Weight& WeightReader::get(const std::string& name) const {
  const Weight* const weight = find(name);
  if (weight == nullptr) throw ModelError("there is no weight " + prefix_ + name);
  return *weight;
}

std::vector<int64_t> WeightReader::shape(const std::string& name) const {
  const Weight* const weight = find(name);
  return weight == nullptr ? std::vector<int64_t>() : weight->shape;
}

at::Tensor WeightReader::tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  const Weight& weight = get(name);
  if (weight.shape != shape) {
    throw ModelError("weight " + prefix_ + name + " is of shape " + text(weight.shape) +
                     "; by the configuration it must be " + text(shape));
  }
  at::Tensor found = weight.grouped ? read_groups(weight, prefix_ + name, shape) : read(weight, prefix_ + name, shape);
  if (weight.paired_heads > 0) found = unpaired(found, weight.paired_heads, prefix_ + name);
  if (weight.shift != 0) found = found.to(at::kFloat) + weight.shift;
  return weight.added ? merged(found, *weight.added, prefix_ + name) : found;
}

at::Tensor WeightReader::floats(const std::string& name, const std::vector<int64_t>& shape) const {
  return tensor(name, shape).to(at::kFloat).contiguous();
}

at::Tensor WeightReader::whole_numbers(const std::string& name) const {
  const Weight& weight = get(name);
  if (weight.dtype != "I64" || weight.shape.size() != 1 ||
      weight.bytes.size() != static_cast<size_t>(weight.shape[0]) * sizeof(int64_t) || weight.bytes.empty()) {
    throw ModelError("weight " + prefix_ + name + " is no row of int64");
  }
  at::Tensor copy = at::empty(weight.shape, at::kLong);
  std::memcpy(copy.mutable_data_ptr(), weight.bytes.data(), weight.bytes.size());
  return copy;
}

at::Tensor WeightReader::floats(const std::string& name) const {
  return floats(name, get(name).shape);
}

}  // namespace predictor
