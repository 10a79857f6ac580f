// The straightforward Normalize, for comparison: the published patterns, compiled at every call, by std::regex.
// A Python module of one function, register_normalize(resolver), to follow the registration of the other operators.
#include <pybind11/pybind11.h>

#include <regex>
#include <stdexcept>
#include <string>
#include <utility>

#include "tflite/library.h"
#include "tflite/strings.h"

namespace py = pybind11;

namespace predictor::tflite {

namespace {

std::string normalized(std::string text) {
  const std::pair<const char*, const char*> kRules[] = {
      {"^\\s+|\\s+$", ""},
      {"[.*()\"]", ""},
      {"\\s('t|'nt|n't|'d|'ll|'s|'m|'ve|'re)([\\s,;:/])", "$1$2"},
      {"\\s('t|'nt|n't|'d|'ll|'s|'m|'ve|'re)$", "$1"},
      {"([^\\s]+)'ll", "$1 will"},
      {"([^\\s]+)'nt", "$1 not"},
      {"([^\\s]+)'re", "$1 are"},
      {"([^\\s]+)'ve", "$1 have"},
      {"([^\\s]+)n't", "$1 not"},
      {"i'm", "i am"},
      {"([?])+", "$1"},
      {"([!])+", "$1"},
      {"([^?!]+)([?!])", "$1 $2 "},
      {"([?!])([?!])", "$1 $2"},
      {"[\\s,:;\\-&'\"]+$", ""},
      {"^[\\s,:;\\-&'\"]+", ""},
  };
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [pattern, replacement] : kRules) text = std::regex_replace(text, std::regex(pattern), replacement);
  return text.size() <= 300 ? "<S> " + text + " <E>" : "<S> " + text.substr(0, 300);
}

Status run(Context* context, Node* node) {
  const Tensor& input = context->tensors[node->inputs->data[0]];
  Tensor& output = context->tensors[node->outputs->data[0]];
  return set_string(output, normalized(std::string(string_at(input, 0)))) ? Status::kOk : Status::kError;
}

void register_normalize(std::uintptr_t address) {
  auto* resolver = reinterpret_cast<Resolver*>(address);
  const Registration* found = library().find_custom(resolver, "Normalize", 1);
  if (!found) throw std::runtime_error("register the other operators first");
  Registration registration = *found;
  registration.invoke = run;
  library().add_custom(resolver, "Normalize", &registration, 1);
}

}  // namespace

}  // namespace predictor::tflite

PYBIND11_MODULE(stock_operators, module) {
  module.doc() = "The straightforward Normalize";
  auto binary = py::module_::import("tflite_runtime._pywrap_tensorflow_interpreter_wrapper");
  predictor::tflite::open_library(binary.attr("__file__").cast<std::string>(), predictor::tflite::kSupportedVersion);
  module.def("register_normalize", &predictor::tflite::register_normalize, py::arg("resolver"));
}
