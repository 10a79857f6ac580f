// From a segment to its signatures: the first four operators of the graph, which are without weights to train.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "smart_reply/features.h"
#include "smart_reply/projection.h"

namespace predictor::smart_reply {

// LSH_PROJECTION's constant and options.
struct HashSeeds {
  std::span<const uint32_t> bits_of_floats;  // [hashes, bits]
  size_t bits = 0;                           // of a signature, 1 to 32
  bool sparse = true;                        // one signature for each row of seeds; else 0 or 1 for each seed
  bool weighted = true;                      // features count by their weights; else all alike
};

// What is wrong with a shape of seeds; null when nothing is.
const char* shape_fault(uint64_t hashes, uint64_t bits, bool sparse);

// Read-only, of any number of threads. What it computes in is the caller's.
class Projection {
 public:
  struct Scratch {
    SkipGrams grams;
    FeatureList features;
    std::vector<double> sums;
    std::vector<int32_t> signatures;
  };

  Projection(const SkipGramOptions& options, const HashSeeds& seeds) : options_(options), seeds_(seeds) {}

  // Leaves the segment's signatures in the scratch.
  void project(std::string_view segment, Scratch& scratch) const;

 private:
  SkipGramOptions options_;
  HashSeeds seeds_;
  ProjectionKernel kernel_ = projection_kernel(best_instructions());
};

}  // namespace predictor::smart_reply
