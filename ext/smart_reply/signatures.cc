#include "smart_reply/signatures.h"

#include <algorithm>
#include <bit>

#include "smart_reply/text.h"

namespace predictor::smart_reply {

namespace {

constexpr uint64_t kMaxBits = 32;

// A feature without weight adds zero to every sum.
void leave_out_weightless(FeatureList& features) {
  size_t kept = 0;
  for (size_t i = 0; i < features.ids.size(); ++i) {
    if (features.weights[i] == 0) continue;
    features.ids[kept] = features.ids[i];
    features.weights[kept++] = features.weights[i];
  }
  features.ids.resize(kept);
  features.weights.resize(kept);
}

// Each bit says whether a sum is positive. Of sparse ones, row by row, the row's number stands before its bits.
void write_signatures(const std::vector<double>& sums, const HashSeeds& seeds, std::vector<int32_t>& signatures) {
  const size_t bits = seeds.sparse ? seeds.bits : 1;
  signatures.clear();
  for (size_t row = 0; row * bits < sums.size(); ++row) {
    uint32_t signature = 0;
    for (size_t bit = 0; bit < bits; ++bit) signature = signature << 1 | (sums[row * bits + bit] > 0);
    const uint64_t number = seeds.sparse ? static_cast<uint64_t>(row) << bits : 0;
    signatures.push_back(static_cast<int32_t>(signature + number));
  }
}

}  // namespace

const char* shape_fault(uint64_t hashes, uint64_t bits, bool sparse) {
  if (hashes < 1 || bits < 1 || bits > kMaxBits) return "there must be at least one hash, of 1 to 32 bits";
  if (sparse && bits + static_cast<uint64_t>(std::bit_width(hashes - 1)) > kMaxBits) {
    return "number and bits of the hashes do not fit into 32-bit signatures";
  }
  return nullptr;
}

void Projection::project(std::string_view segment, Scratch& scratch) const {
  extract_features(normalized(segment), options_, scratch.grams, scratch.features);
  if (seeds_.weighted) {
    leave_out_weightless(scratch.features);
  } else {
    std::fill(scratch.features.weights.begin(), scratch.features.weights.end(), 1.0f);
  }
  const FeatureList& features = scratch.features;
  scratch.sums.resize(seeds_.bits_of_floats.size());
  kernel_(seeds_.bits_of_floats.data(), seeds_.bits_of_floats.size(),
          {features.ids.data(), features.weights.data(), features.ids.size()}, scratch.sums.data());
  write_signatures(scratch.sums, seeds_, scratch.signatures);
}

}  // namespace predictor::smart_reply
