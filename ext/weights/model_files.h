// A model's weights where they lie in its files, which are mapped into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weights/mapped_file.h"
#include "weights/weight.h"

namespace predictor {

struct GroupedPlaces;

// What lies where.
struct WeightPlace {
  size_t file;
  std::string dtype;
  std::vector<int64_t> shape;
  size_t offset;
  size_t size;
  int64_t paired_heads = 0;  // as Weight has it
  float shift = 0;           // the same
  std::shared_ptr<const GroupedPlaces> grouped = nullptr;
};

// The same of what belongs to whole numbers in groups (GroupedNumbers).
struct GroupedPlaces {
  WeightPlace zeros;
  WeightPlace scales;
  std::optional<WeightPlace> groups;
  int64_t group_size;
  int64_t bits;
  int64_t zero_shift;
  bool interleaved;
};

// The same of what an adapter adds to a weight (LowRank).
struct LowRankPlaces {
  WeightPlace down;
  WeightPlace up;
  double scale;
  bool turned;
};

// Which files there are, and each weight's place in them.
struct WeightPlaces {
  std::vector<std::string> files;
  std::vector<std::pair<std::string, WeightPlace>> weights;
  std::vector<std::pair<std::string, LowRankPlaces>> added = {};  // by the weight's name
};

class ModelFiles {
 public:
  // Maps them. Throws ModelError when one cannot be, or is shorter than a weight's place says, or when something is
  // added to a weight that is not there.
  explicit ModelFiles(const WeightPlaces& places);

  const Weights& weights() const { return weights_; }

  // Gives back what was read; what is looked at again is read again.
  void forget() const;

 private:
  Weight placed(const std::string& name, const WeightPlace& place, const std::vector<std::string>& files) const;

  std::vector<MappedFile> files_;
  Weights weights_;
};

}  // namespace predictor
