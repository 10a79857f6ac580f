// Python's view of models that read whole texts: the module ext._encoder.
#include <malloc.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "encoder/text_engine.h"
#include "python/engine.h"
#include "python/model_source.h"

namespace predictor {
namespace {

TextEngineConfig to_settings(py::dict settings) {
  TextEngineConfig config;
  config.precision = take_precision(settings);
  config.replicas = take_setting(settings, "replicas", config.replicas);
  config.threads = take_setting(settings, "threads", config.threads);
  config.warm_up_tokens = take_setting(settings, "warm_up_tokens", config.warm_up_tokens);
  config.device = take_setting(settings, "device", config.device);
  config.limits = take_limits(settings);
  config.policy = take_policy(settings);
  config.policy.pads = false;
  expect_no_more(settings);
  return config;
}

struct AnswerValue {
  py::object operator()(Request& request) const {
    const std::vector<float>& answer = static_cast<TextRequest&>(request).answer;
    return py::bytes(reinterpret_cast<const char*>(answer.data()), answer.size() * sizeof(float));
  }
};

using PyTextEngine = PythonEngine<TextEngine, AnswerValue>;

std::unique_ptr<PyTextEngine> make_engine(const py::dict& config, const std::vector<std::string>& files,
                                          const py::dict& weights, const py::dict& head, const py::kwargs& kwargs) {
  const TextModelSource source{to_config(config, "config.json"), to_config(head, "head"), to_places(files, weights)};
  const TextEngineConfig settings = to_settings(kwargs);
  std::shared_ptr<TextEngine> engine;
  {
    py::gil_scoped_release unlocked;
    engine = std::make_shared<TextEngine>(source, settings);
    malloc_trim(0);  // what the weights were turned and rounded in
  }
  return std::make_unique<PyTextEngine>(std::move(engine));
}

int64_t submit(PyTextEngine& self, TokenIds ids, uint32_t second_begins, uint32_t prompt_tokens, int lane,
               Nanoseconds deadline, py::object tag) {
  TextEngine& open = self.engine();
  const Lane in_lane = to_lane(lane);
  void* owned = to_tag(std::move(tag));
  try {
    return submitted(open.submit({std::move(ids), second_begins, prompt_tokens}, in_lane, deadline, owned), owned);
  } catch (...) {
    from_tag(owned);
    throw;
  }
}

}  // namespace

PYBIND11_MODULE(_encoder, module) {
  module.doc() = "Models that read whole texts: vectors, classes, scores.";
  register_model_error(module);
  module.def("architectures", &served_architectures, "The model_types of config.json that are served.");
  py::class_<PyTextEngine> cls(module, "EncoderEngine");
  cls.def(py::init(&make_engine), py::arg("config"), py::arg("files"), py::arg("weights"), py::arg("head"))
      .def("submit", &submit, py::arg("ids"), py::arg("second_begins"), py::arg("prompt_tokens"), py::arg("lane"),
           py::arg("deadline_ns"), py::arg("tag"),
           "Queue a text's token ids; its id, or minus the Admission that refused it. ValueError: an id is none.")
      .def_property_readonly("columns", [](PyTextEngine& self) { return self.engine().model().columns(); })
      .def_property_readonly("vocabulary", [](PyTextEngine& self) { return self.engine().model().vocabulary(); })
      .def_property_readonly("max_positions", [](PyTextEngine& self) { return self.engine().model().max_positions(); });
  bind_engine_methods(cls);
}

}  // namespace predictor
