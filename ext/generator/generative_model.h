// A transformer with its language head and its KV cache: tokens of sequences to the logits of the next ones. This
// header knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transformer/sequence_chunk.h"
#include "weights/config.h"
#include "weights/model_files.h"
#include "weights/precision.h"

namespace predictor {

struct GenerativeModelSettings {
  Precision precision = Precision::float32;
  std::string device = "cpu";
  uint32_t max_tokens = 4096;                // of a text, its prompt included; the model's positions if they are fewer
  uint64_t cache_bytes = uint64_t{1} << 30;  // of keys and values, of all texts together
};

class GenerativeModel {
 public:
  // Maps the files, packs the weights, and reads a token to see that the numbers are finite. Throws ModelError.
  GenerativeModel(const Config& config, const WeightPlaces& places, const GenerativeModelSettings& settings);
  ~GenerativeModel();
  GenerativeModel(const GenerativeModel&) = delete;
  GenerativeModel& operator=(const GenerativeModel&) = delete;

  // Reads the chunks and gives the logits after each of the tokens that `logit_rows` names by index, counted through
  // the chunks: [logit_rows][vocabulary], to be changed at will until the next call. A token's logits depend on its own
  // sequence only, not on how that was cut into chunks. One thread at a time.
  std::span<float> forward(std::span<const SequenceChunk> chunks, std::span<const uint32_t> logit_rows);

  // Whether that holds to the last bit with the instructions at hand.
  bool is_batch_invariant() const;

  uint32_t vocabulary() const;
  uint32_t context() const;    // positions that one text may have
  uint32_t positions() const;  // the same in a cache with room for all of them
  size_t page_bytes() const;   // of keys and values
  uint32_t pages() const;      // of the cache

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The model_types that are served.
std::vector<std::string> generator_architectures();

}  // namespace predictor
