// A model of whole texts: texts in token ids to numbers. This header knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace predictor {

using TokenIds = std::vector<int32_t>;

// One text, or a pair, as its model's tokenizer gives it, special tokens included.
struct TextTokens {
  TokenIds ids;
  uint32_t second_begins;  // where the second text of a pair begins; ids.size() where there is none
  uint32_t prompt_tokens;  // the first ones that pooling leaves out
  uint32_t seen;           // the first ones that its tokens attend to; mostly ids.size()
};

// What gives numbers for texts: a folder's transformer (transformer_model.h), or a program (package/padded_model.h).
class TextModel {
 public:
  virtual ~TextModel() = default;

  // Each text's numbers, in their order (heads/head.h). Any thread may call it, several at a time.
  virtual std::vector<std::vector<float>> run(std::span<const TextTokens* const> texts) const = 0;

  virtual int64_t columns() const = 0;
  virtual int64_t vocabulary() const = 0;
  virtual int64_t max_positions() const = 0;  // 0: no limit
  // Whether the first batch of each size takes longer, as a library compiles its products.
  virtual bool compiles_shapes() const = 0;
  // Whether texts of a batch are filled up to the longest: then it must be shown that none sees another.
  virtual bool pads() const = 0;
  // How far, in parts of an answer's length, the same text's answers lie apart by rounding alone.
  virtual double rounding() const = 0;
};

}  // namespace predictor
