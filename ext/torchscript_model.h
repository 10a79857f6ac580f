// A TorchScript module that answers documents.
#pragma once

#include <torch/script.h>

#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "document.h"
#include "torchscript_signature.h"

namespace predictor {

class TorchScriptModel {
 public:
  // Reads the file. Throws ModelError when it cannot be served.
  explicit TorchScriptModel(const std::string& path);

  const Signature& signature() const { return signature_; }

  // The documents' results, in their order. Any number of threads may call it at once.
  std::vector<Result> run(std::span<const Document* const> documents);

 private:
  c10::IValue forward(std::span<const Document* const> documents);
  std::vector<Result> read(const c10::IValue& output, size_t count);
  Result read_labels(const c10::IValue& scores);
  Result read_label_sets(const c10::IValue& sets);
  std::vector<Result> read_vectors(const c10::IValue& output, size_t count);
  std::shared_ptr<const Labels> share(Labels labels);

  torch::jit::Module module_;
  Signature signature_;
  std::mutex labels_mutex_;
  std::shared_ptr<const Labels> last_labels_;  // what most results have: compared, not copied
};

}  // namespace predictor
