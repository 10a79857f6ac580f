// The bytes of a model file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace predictor::tflite {

// Alive as long as somebody shares it; its beginning is aligned as any number needs it.
using Content = std::shared_ptr<const std::string_view>;

// Maps the file that `descriptor` is open on, without copying it. The descriptor may be closed then; the file must not
// be written to, but another may take its name. Throws ModelError for an empty file and for one of more than 1 GiB,
// std::system_error when there is no memory.
Content mapped(int descriptor);

Content copied(std::string_view bytes);

}  // namespace predictor::tflite
