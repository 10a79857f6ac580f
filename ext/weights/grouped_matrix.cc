#include "weights/grouped_matrix.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "weights/model_error.h"

namespace predictor {

namespace {

// Where the number of each of eight outputs stands in a word of AWQ's.
constexpr std::array<size_t, 8> kInterleaved = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t word_at(std::string_view bytes, size_t index) {
  uint32_t word;
  std::memcpy(&word, bytes.data() + index * sizeof word, sizeof word);
  return word;
}

size_t checked_bits(const GroupedNumbers& parts, const std::string& name) {
  const bool known = parts.bits == 4 || (parts.bits == 8 && !parts.interleaved);
  if (!known || parts.group_size < 1) throw ModelError("weight " + name + " is in groups of an unknown form");
  return static_cast<size_t>(parts.bits);
}

}  // namespace

GroupedMatrix::GroupedMatrix(const Weight& weight, const std::string& name)
    : weight_(weight),
      parts_(*weight.grouped),
      outputs_(static_cast<size_t>(weight.shape.at(0))),
      inputs_(static_cast<size_t>(weight.shape.at(1))),
      bits_(checked_bits(parts_, name)),
      in_word_(32 / bits_),
      groups_((inputs_ + static_cast<size_t>(parts_.group_size) - 1) / static_cast<size_t>(parts_.group_size)),
      group_of_(inputs_) {
  if (!parts_.scales.shape.empty()) groups_ = static_cast<size_t>(parts_.scales.shape[0]);
  const bool fits = outputs_ % in_word_ == 0 && (parts_.interleaved || inputs_ % in_word_ == 0) &&
                    weight.bytes.size() == inputs_ * outputs_ / in_word_ * 4 &&
                    parts_.zeros.bytes.size() == groups_ * outputs_ / in_word_ * 4 &&
                    parts_.scales.shape == std::vector<int64_t>{static_cast<int64_t>(groups_), weight.shape[0]} &&
                    (parts_.groups.bytes.empty() || parts_.groups.bytes.size() == inputs_ * 4);
  if (!fits) throw ModelError("weight " + name + ": its numbers, zeros and scales do not go together");
  for (size_t input = 0; input < inputs_; ++input) {
    group_of_[input] = parts_.groups.bytes.empty() ? input / static_cast<size_t>(parts_.group_size)
                                                   : word_at(parts_.groups.bytes, input);
    if (group_of_[input] >= groups_) {
      throw ModelError("weight " + name + ": input " + std::to_string(input) + " is of group " +
                       std::to_string(static_cast<int32_t>(group_of_[input])) + ", and there are " +
                       std::to_string(groups_));
    }
  }
}

void GroupedMatrix::read(size_t first, size_t last, const float* scales, float* to) const {
  std::vector<float> zeros(groups_);
  std::vector<float> scale(groups_);
  for (size_t output = first; output < last; ++output) {
    for (size_t group = 0; group < groups_; ++group) {
      zeros[group] = static_cast<float>(zero(group, output));
      scale[group] = scales[group * outputs_ + output];
    }
    for (size_t input = 0; input < inputs_; ++input) {
      const size_t group = group_of_[input];
      *to++ = scale[group] * (static_cast<float>(number(input, output)) - zeros[group]);
    }
  }
}

size_t GroupedMatrix::number(size_t input, size_t output) const {
  const size_t mask = (size_t{1} << bits_) - 1;
  if (parts_.interleaved) {
    return word_at(weight_.bytes, input * (outputs_ / in_word_) + output / in_word_) >> shift(output) & mask;
  }
  return word_at(weight_.bytes, input / in_word_ * outputs_ + output) >> (input % in_word_ * bits_) & mask;
}

size_t GroupedMatrix::zero(size_t group, size_t output) const {
  const size_t mask = (size_t{1} << bits_) - 1;
  const size_t word = word_at(parts_.zeros.bytes, group * (outputs_ / in_word_) + output / in_word_);
  return ((word >> shift(output)) + static_cast<size_t>(parts_.zero_shift)) & mask;
}

size_t GroupedMatrix::shift(size_t output) const {
  const size_t place = output % in_word_;
  return (parts_.interleaved ? kInterleaved[place] : place) * bits_;
}

}  // namespace predictor
