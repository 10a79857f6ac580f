#include "encoder/batch_mates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr uint32_t kLengths[] = {1, 2, 3, 5, 8, 17, 33};
constexpr uint64_t kStride = 48271;  // of a walk over the vocabulary that repeats no short pattern

// From the middle of the vocabulary on: the first tokens are special ones.
TextTokens sample(const TextModel& model, uint32_t length, uint64_t first) {
  const auto vocabulary = static_cast<uint64_t>(model.vocabulary());
  TextTokens text{TokenIds(length), length, 0, length};
  for (uint64_t i = 0; i < length; ++i) {
    text.ids[i] = static_cast<int32_t>((vocabulary / 2 + first + i * kStride) % vocabulary);
  }
  return text;
}

std::vector<float> alone(const TextModel& model, const TextTokens& text) {
  const TextTokens* const texts[] = {&text};
  try {
    return std::move(model.run(texts).at(0));
  } catch (const std::exception& error) {
    throw ModelError("the model fails on a text of " + std::to_string(text.ids.size()) + " tokens: " + reason(error));
  }
}

// Whether the difference is no longer than rounding makes it. Numbers that are not finite are equal to none.
bool same(const std::vector<float>& a, const std::vector<float>& b, double rounding) {
  if (a.size() != b.size()) return false;
  double length = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    length += static_cast<double>(a[i]) * a[i];
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return std::sqrt(difference) <= rounding * std::max(std::sqrt(length), 1e-3);
}

// Whether a text's answer is the same alone, and beside two mates of `mates_length` tokens at each place of the batch.
// A module that was made for batches of one fails on others.
bool keeps_its_answer(const TextModel& model, uint32_t length, uint32_t mates_length) {
  const TextTokens text = sample(model, length, length);
  const TextTokens one = sample(model, mates_length, 7), other = sample(model, mates_length, 11);
  const std::vector<float> right = alone(model, text);
  try {
    for (size_t place = 0; place < 3; ++place) {
      std::array<const TextTokens*, 3> texts = {&one, &other, &text};
      std::swap(texts[place], texts[2]);
      if (!same(right, model.run(texts).at(place), model.rounding())) return false;
    }
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

}  // namespace

void share_batches(PolicyConfig& policy, const TextModel& model, uint32_t max_tokens) {
  for (const uint32_t length : kLengths) {
    if (length > max_tokens) break;
    if (!keeps_its_answer(model, length, length)) {
      policy.batch_items = 1;
      return;
    }
  }
  for (const uint32_t length : kLengths) {
    for (const uint32_t longer : {length + 1, length + 4, 4 * length + 8}) {
      if (longer <= max_tokens && !keeps_its_answer(model, length, longer)) policy.equal_lengths = true;
    }
  }
}

}  // namespace predictor
