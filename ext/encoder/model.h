// A TorchScript module that gives vectors for texts in token ids, without padding (scripts/export_encoder.py). As
// torchscript/model.h this header knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace predictor {

using TokenIds = std::vector<int32_t>;
using Vector = std::vector<float>;

// oneDNN compiles a product for every number of rows that it has not seen, up to a millisecond and a megabyte each: the
// tokens of a batch are filled up to a multiple of this, with texts of one token that nobody asks for.
inline constexpr uint32_t kTokensRoundedTo = 16;

class EncoderModel {
 public:
  // Reads the file. Throws ModelError when it is no encoder, or there is no such device.
  EncoderModel(const std::string& path, const std::string& device);
  ~EncoderModel();
  EncoderModel(const EncoderModel&) = delete;
  EncoderModel& operator=(const EncoderModel&) = delete;

  // The same model for another thread: shares code and weights. On a graphics card it has a stream of its own.
  std::unique_ptr<EncoderModel> replica() const;

  // The texts' vectors, in their order; any lengths from 1. Fastest where texts of equal length follow each other.
  std::vector<Vector> run(std::span<const TokenIds* const> texts);

 private:
  struct Module;
  explicit EncoderModel(std::unique_ptr<Module> module);

  std::unique_ptr<Module> module_;
};

}  // namespace predictor
