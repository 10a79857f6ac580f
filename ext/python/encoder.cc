// Python's view of models that read whole texts: the module ext._encoder.
#include <malloc.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "encoder/text_engine.h"
#include "python/engine.h"

namespace predictor {
namespace {

Config::Value to_value(const py::handle& given, int depth) {
  constexpr int kMaxDepth = 16;
  if (depth > kMaxDepth) throw ModelError("config.json is nested too deep");
  if (given.is_none()) return {};
  if (py::isinstance<py::bool_>(given)) return {given.cast<bool>()};
  if (py::isinstance<py::int_>(given)) {
    int overflow = 0;
    const long long whole = PyLong_AsLongLongAndOverflow(given.ptr(), &overflow);
    if (overflow != 0) return {given.cast<double>()};
    return {static_cast<int64_t>(whole)};
  }
  if (py::isinstance<py::float_>(given)) return {given.cast<double>()};
  if (py::isinstance<py::str>(given)) return {given.cast<std::string>()};
  if (py::isinstance<py::dict>(given)) {
    Config::Object object;
    for (const auto& [name, value] : given.cast<py::dict>()) {
      object[name.cast<std::string>()] = to_value(value, depth + 1);
    }
    return {std::move(object)};
  }
  Config::List list;
  for (const py::handle item : given.cast<py::sequence>()) list.push_back(to_value(item, depth + 1));
  return {std::move(list)};
}

Config to_config(const py::dict& given, const std::string& name) {
  return Config(std::get<Config::Object>(to_value(given, 0).content), name);
}

TextModelSource to_source(const py::dict& config, const std::vector<std::string>& files, const py::dict& weights,
                          const py::dict& head) {
  TextModelSource source{to_config(config, "config.json"), to_config(head, "head"), files, {}};
  for (const auto& [name, place] : weights) {
    const auto parts = place.cast<py::tuple>();
    source.weights.emplace_back(
        name.cast<std::string>(),
        WeightPlace{parts[0].cast<size_t>(), parts[1].cast<std::string>(), parts[2].cast<std::vector<int64_t>>(),
                    parts[3].cast<size_t>(), parts[4].cast<size_t>()});
  }
  return source;
}

Precision take_precision(py::dict& settings) {
  const std::string name = take_setting<std::string>(settings, "precision", "float32");
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  if (name == "int8") return Precision::int8;
  throw py::value_error("precision must be float32, bfloat16 or int8");
}

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
  const TextModelSource source = to_source(config, files, weights, head);
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
