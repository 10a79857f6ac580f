// A .tflite file, looked through before anybody relies on it: runtimes trust their files, and crash on broken ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tflite/content.h"
#include "tflite/flatbuffer.h"

namespace predictor::tflite {

class ModelFile {
 public:
  // Throws ModelError when the bytes are no well-formed model, when it lacks what every model has, or when content that
  // lies behind the flatbuffer does not lie within the file: runtimes add up its offset and size without a look at the
  // carry.
  explicit ModelFile(Content content);

  const Content& content() const { return content_; }
  Table root() const { return Table::root(*content_); }

  // Names of the first subgraph's operators, in their order. Throws ModelError for one that the file does not name.
  std::vector<std::string> operator_names() const;

  // Throws ModelError when strings lie outside of their buffer, when an operator reads what neither the graph's caller,
  // nor an operator before it, nor the file wrote, and for content whose size no runtime checks (of sparse tensors, of
  // resources): a runtime would follow a wild pointer there.
  void check_tensors() const;

  // The content that the file gives a tensor, as runtimes find it; empty when there is none.
  std::string_view content_of(const Table& tensor) const;

 private:
  Content content_;
  std::vector<Table> buffers_;
};

// The number of elements that a tensor's shape says; the largest number there is when that does not fit.
size_t elements_of(const Table& tensor);

}  // namespace predictor::tflite
