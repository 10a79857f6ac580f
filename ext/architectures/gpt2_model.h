// GPT-2 (Radford et al. 2019), its keys and values kept from step to step for a fixed number of sequences ("slots").
// This header knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "weights/weight.h"

namespace predictor {

struct Gpt2Config {
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t hidden_size = 0;        // numbers for a token; a multiple of `heads`
  uint32_t intermediate_size = 0;  // numbers between the two products of a layer's network
  uint32_t context = 0;            // positions
  uint32_t vocabulary = 0;
  float epsilon = 1e-5f;
};

// Where and how a model is run.
struct Gpt2Execution {
  std::string precision = "float32";  // float32, bfloat16 or int8
  std::string device = "cpu";         // cpu, cuda or cuda:N
  bool by_operators = false;          // also on the processor by libtorch's operators, as on all other devices
};

// Tokens of one prompt that are read in one call, at most: a long prompt does not stop the other texts.
inline constexpr uint32_t kPrefillChunk = 64;

class Gpt2Model {
 public:
  // A token to be read: at `position` (from 0, each after the other) of the sequence in `slot`.
  struct Row {
    uint32_t slot;
    uint32_t position;
    uint32_t token;
  };

  // `weights`: named as Hugging Face's GPT2Model names them ("h.0.attn.c_attn.weight"), copied here. In int8 each
  // matrix is I8 and has "NAME_scale" beside it, and "lm_head.weight" is the output's; else that is "wte.weight"
  // turned, where there is none. Throws ModelError.
  static std::unique_ptr<Gpt2Model> make(const Gpt2Config& config, const Weights& weights, uint32_t slots,
                                         const Gpt2Execution& execution);
  virtual ~Gpt2Model() = default;

  // Reads `rows`, one for each of some slots, or several that follow each other in one slot, and gives the logits after
  // each of those that `logit_rows` names by index: [logit_rows][vocabulary], to be changed at will until the next
  // call. A row's logits depend on its own sequence only: not on what the others are, how many they are, or which slot
  // it is in, as long as a text is cut into the same calls. One thread at a time.
  virtual std::span<float> forward(std::span<const Row> rows, std::span<const uint32_t> logit_rows) = 0;

  // Whether that holds to the last bit with the libraries at hand: tried when the model was loaded.
  virtual bool is_batch_invariant() const = 0;

  const Gpt2Config& config() const { return config_; }

 protected:
  explicit Gpt2Model(const Gpt2Config& config) : config_(config) {}

 private:
  const Gpt2Config config_;
};

}  // namespace predictor
