// A TorchScript module that answers documents. This header knows nothing of libtorch: only model.cc and
// signature.cc include its headers, which take half a minute each to compile.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/document.h"
#include "weights/model_error.h"

namespace predictor {

enum class OutputKind {
  labels,      // List[Dict[str, float]]: classification
  label_sets,  // List[List[Dict[str, float]]]: label sets, word tagging
  score,       // List[float]: regression
  vectors,     // Tensor [n, d] or List[Tensor]: embedding
};

class TorchScriptModel {
 public:
  // Reads the file. Throws ModelError when it cannot be served, or there is no such device.
  TorchScriptModel(const std::string& path, const std::string& device);
  ~TorchScriptModel();
  TorchScriptModel(const TorchScriptModel&) = delete;
  TorchScriptModel& operator=(const TorchScriptModel&) = delete;

  // true: the module splits texts itself; false: it is given tokens.
  bool takes_texts() const;
  OutputKind output() const;
  // Whether its code goes round only so often as a few short texts let it: see loops.h.
  bool loops_are_short() const;

  // The same model for another thread: shares code and weights, and has its own copy of what a forward call may change
  // (attributes, buffers); on a graphics card a stream of its own. Throws ModelError.
  std::unique_ptr<TorchScriptModel> replica() const;

  // The documents' results, in their order. One thread at a time: a module may change itself while it runs.
  std::vector<Result> run(std::span<const Document* const> documents);

 private:
  struct Module;
  explicit TorchScriptModel(std::unique_ptr<Module> module);

  std::unique_ptr<Module> module_;
};

}  // namespace predictor
