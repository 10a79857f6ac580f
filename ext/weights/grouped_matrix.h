// Reads matrices of whole numbers in groups (GroupedNumbers) as floats.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "weights/weight.h"

namespace predictor {

class GroupedMatrix {
 public:
  // Of a weight that is `grouped`. Throws ModelError, naming it, where its parts do not go with its shape, or an input
  // is of a group that is not there.
  GroupedMatrix(const Weight& weight, const std::string& name);

  size_t inputs() const { return inputs_; }

  // The outputs from `first` to before `last`, [last - first, inputs()]. `scales`: [groups, outputs] of them as floats.
  void read(size_t first, size_t last, const float* scales, float* to) const;

 private:
  size_t number(size_t input, size_t output) const;
  size_t zero(size_t group, size_t output) const;
  // `output` within its word, as a shift.
  size_t shift(size_t output) const;

  const Weight& weight_;
  const GroupedNumbers& parts_;
  const size_t outputs_;
  const size_t inputs_;
  const size_t bits_;
  const size_t in_word_;  // numbers
  size_t groups_;
  std::vector<size_t> group_of_;  // each input
};

}  // namespace predictor
