// The bytes of a model file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace predictor::tflite {

// Alive as long as somebody shares it; its beginning is aligned as any number needs it.
using Content = std::shared_ptr<const std::string_view>;

// Reads the file that `descriptor` is open on, from its beginning. It is not mapped: whoever overwrote a mapped file in
// place would end the process by SIGBUS. Throws ModelError for an empty file, for one of more than 1 GiB and for one
// that is cut off meanwhile, std::system_error when it cannot be read.
Content read(int descriptor);

Content copied(std::string_view bytes);

}  // namespace predictor::tflite
