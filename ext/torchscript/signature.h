// What a TorchScript module's forward wants and gives, read from its schema: every form that PyText exported.
#pragma once

#include <torch/script.h>

#include <span>
#include <vector>

#include "text/document.h"
#include "torchscript/model.h"

namespace predictor {

class Signature {
 public:
  // Throws ModelError, naming the argument, when forward needs an input that a call does not carry, or when its result
  // is of no kind that can be answered with.
  explicit Signature(const torch::jit::Module& module);

  // true: the module splits texts itself; false: it is given tokens.
  bool takes_texts() const { return takes_texts_; }
  OutputKind output() const { return output_; }
  // The result lies in the first element of a tuple (intents, slots).
  bool output_in_tuple() const { return output_in_tuple_; }
  // The forward call's positional arguments for these documents, without self.
  std::vector<c10::IValue> arguments(std::span<const Document* const> documents) const;

 private:
  enum class Source { texts, tokens, constant };
  struct Argument {
    Source source;
    c10::IValue constant;  // None, a default or an empty list
  };

  Argument plan(const c10::Argument& argument) const;
  void read_output(const c10::FunctionSchema& schema);

  bool takes_texts_ = false;
  OutputKind output_ = OutputKind::labels;
  bool output_in_tuple_ = false;
  std::vector<Argument> arguments_;
};

}  // namespace predictor
