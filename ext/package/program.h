// A program that somebody's own tools made of a model: token ids of texts filled up to equal lengths, and a mask, to
// numbers. Three kinds: AOTInductor's packages (inductor.h), TorchScript traces (trace.h), and what Python runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace predictor {

// int64 [texts, length], on the processor.
struct PaddedTexts {
  at::Tensor ids;
  at::Tensor mask;   // 1 for a token, 0 for padding, which stands at the end
  at::Tensor types;  // 1 for tokens of a pair's second text
};

class Program {
 public:
  virtual ~Program() = default;

  // Of any real type, on the processor: [texts, length, n] or [texts, n]. Any thread may call it, several at a time.
  // Throws what its tools throw.
  virtual at::Tensor run(const PaddedTexts& texts) const = 0;
};

// What a program gives.
struct ProgramOutput {
  bool of_tokens;   // a row for each token; false: for each text
  int64_t columns;  // of a row
  double rounding;  // how far, in parts of an answer's length, the same text's answers lie apart in other batches
};

// Runs it on two small batches. Throws ModelError when it fails, or gives anything else than the above.
ProgramOutput output_of(const Program& program, int64_t padding_id);

// Runs it on a text of `length` times the token `id`, of which the second half is a pair's second text. Throws
// ModelError when it fails.
void try_text(const Program& program, const ProgramOutput& expected, int64_t id, int64_t length);

// Whether the program gave rows as `expected` for these texts; throws std::runtime_error where it did not.
void require_output(const at::Tensor& output, const PaddedTexts& texts, const ProgramOutput& expected);

}  // namespace predictor
