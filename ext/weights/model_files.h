// A model's weights where they lie in its files, which are mapped into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "weights/mapped_file.h"
#include "weights/weight.h"

namespace predictor {

// What lies where.
struct WeightPlace {
  size_t file;
  std::string dtype;
  std::vector<int64_t> shape;
  size_t offset;
  size_t size;
};

// Which files there are, and each weight's place in them.
struct WeightPlaces {
  std::vector<std::string> files;
  std::vector<std::pair<std::string, WeightPlace>> weights;
};

class ModelFiles {
 public:
  // Maps them. Throws ModelError when one cannot be, or is shorter than a weight's place says.
  explicit ModelFiles(const WeightPlaces& places);

  const Weights& weights() const { return weights_; }

  // Gives back what was read; what is looked at again is read again.
  void forget() const;

 private:
  std::vector<MappedFile> files_;
  Weights weights_;
};

}  // namespace predictor
