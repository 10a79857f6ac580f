// A transformer and its head, as a folder's files describe them. This header knows nothing of libtorch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "encoder/text_model.h"
#include "weights/config.h"
#include "weights/model_files.h"
#include "weights/precision.h"

namespace predictor {

struct TransformerSource {
  Config config;
  Config head;
  WeightPlaces places;
};

class TransformerModel : public TextModel {
 public:
  // Maps the files and packs the weights. Throws ModelError.
  TransformerModel(const TransformerSource& source, Precision precision, const std::string& device,
                   uint32_t max_tokens);
  ~TransformerModel() override;

  std::vector<std::vector<float>> run(std::span<const TextTokens* const> texts) const override;

  int64_t columns() const override;
  int64_t vocabulary() const override;
  int64_t max_positions() const override;
  bool compiles_shapes() const override;
  bool pads() const override { return false; }
  double rounding() const override { return 0; }

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The model_types that are served.
std::vector<std::string> served_architectures();

}  // namespace predictor
