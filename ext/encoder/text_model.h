// A transformer and its head: texts in token ids to what the head makes of them. This header knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weights/config.h"
#include "weights/model_files.h"
#include "weights/precision.h"

namespace predictor {

using TokenIds = std::vector<int32_t>;

// One text, or a pair, as its model's tokenizer gives it, special tokens included.
struct TextTokens {
  TokenIds ids;
  uint32_t second_begins;  // where the second text of a pair begins; ids.size() where there is none
  uint32_t prompt_tokens;  // the first ones that pooling leaves out
};

struct TextModelSource {
  Config config;
  Config head;
  WeightPlaces weights;
};

class TextModel {
 public:
  // Maps the files and packs the weights. Throws ModelError.
  TextModel(const TextModelSource& source, Precision precision, const std::string& device, uint32_t max_tokens);
  ~TextModel();
  TextModel(const TextModel&) = delete;
  TextModel& operator=(const TextModel&) = delete;

  // Each text's numbers, in their order (heads/head.h). Any thread may call it, several at a time.
  std::vector<std::vector<float>> run(std::span<const TextTokens* const> texts) const;

  int64_t columns() const;
  int64_t vocabulary() const;
  int64_t max_positions() const;  // 0: no limit
  // Whether the first batch of each size takes longer, as a library compiles its products.
  bool compiles_shapes() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The model_types that are served.
std::vector<std::string> served_architectures();

}  // namespace predictor
