#include "heads/head.h"

#include "heads/class_head.h"
#include "heads/sparse_head.h"
#include "heads/vector_head.h"
#include "weights/model_error.h"

namespace predictor {

std::unique_ptr<Head> make_head(const Config& description, const TextTransformer& transformer,
                                const WeightReader& weights, const Execution& execution) {
  const std::string output = description.text("output");
  if (output == "vector") return std::make_unique<VectorHead>(description, transformer.hidden_size, weights);
  if (output == "token_vectors")
    return std::make_unique<TokenVectorHead>(description, transformer.hidden_size, weights);
  if (output == "sparse") return std::make_unique<SparseHead>(description, transformer, weights, execution);
  const bool of_tokens = output == "token_classes";
  if (!of_tokens && output != "classes") description.refuse("output", "no such head is known");
  const auto& classes = of_tokens ? transformer.token_classes : transformer.text_classes;
  if (!classes)
    throw ModelError("this architecture is not served with classes of " + std::string(of_tokens ? "tokens" : "texts"));
  return std::make_unique<ClassesHead>(*classes, description.size("labels"), of_tokens, transformer.hidden_size,
                                       weights);
}

}  // namespace predictor
