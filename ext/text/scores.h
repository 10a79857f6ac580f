// Scores in bytes, in a form that whoever wants them gives.
#pragma once

#include <string>
#include <vector>

#include "text/document.h"

namespace predictor {

// Either an object of JSON, best label first, or numbers of eight bytes (IEEE 754) with other bytes around them.
struct ScoresForm {
  bool json = false;
  Labels labels;                    // it fits these, in their order
  std::vector<std::string> around;  // what stands before each number, and at the end: one more than there are labels
  bool big_endian = false;

  // The result, which has labels, in numbers of eight bytes; nothing where it has other labels.
  std::string write(const Result& result) const;
};

}  // namespace predictor
