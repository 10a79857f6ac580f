// A program and a head: texts are filled up to the longest of a batch, and the padding is left out of what is answered.
#pragma once

#include <memory>

#include "encoder/text_model.h"
#include "heads/head.h"
#include "package/program.h"
#include "weights/config.h"
#include "weights/model_files.h"

namespace predictor {

// What the program does not say itself.
struct PaddedModelSource {
  Config head;          // {"output": "vector" | "token_vectors" | "classes" | "token_classes", "modules": [...]}
  WeightPlaces places;  // of the head's modules
  int64_t vocabulary;
  int64_t max_positions;
  int64_t padding_id;
};

class PaddedModel : public TextModel {
 public:
  // Throws ModelError where the head does not fit what the program gives.
  PaddedModel(std::shared_ptr<const Program> program, const ProgramOutput& output, const PaddedModelSource& source);

  std::vector<std::vector<float>> run(std::span<const TextTokens* const> texts) const override;

  int64_t columns() const override { return head_->columns(); }
  int64_t vocabulary() const override { return vocabulary_; }
  int64_t max_positions() const override { return max_positions_; }
  bool compiles_shapes() const override { return false; }
  bool pads() const override { return true; }
  double rounding() const override { return output_.rounding; }

 private:
  PaddedTexts padded(std::span<const TextTokens* const> texts) const;

  const std::shared_ptr<const Program> program_;
  const ProgramOutput output_;
  const ModelFiles files_;
  const int64_t vocabulary_;
  const int64_t max_positions_;
  const int64_t padding_id_;
  std::unique_ptr<Head> head_;
};

}  // namespace predictor
