// Python's view of models that read whole texts: the module ext._encoder.
#include <malloc.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "encoder/text_engine.h"
#include "encoder/transformer_model.h"
#include "package/inductor.h"
#include "package/padded_model.h"
#include "package/trace.h"
#include "python/engine.h"
#include "python/model_source.h"
#include "python/program.h"

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

template <typename Load>
std::unique_ptr<PyTextEngine> load_engine(const Load& load, const TextEngineConfig& settings) {
  std::shared_ptr<TextEngine> engine;
  {
    py::gil_scoped_release unlocked;
    engine = std::make_shared<TextEngine>(load, settings);
    malloc_trim(0);  // what the weights were turned and rounded in
  }
  return std::make_unique<PyTextEngine>(std::move(engine));
}

std::unique_ptr<PyTextEngine> make_engine(const py::dict& config, const std::vector<std::string>& files,
                                          const py::dict& weights, const py::dict& head, const py::kwargs& kwargs) {
  const TransformerSource source{to_config(config, "config.json"), to_config(head, "head"), to_places(files, weights)};
  const auto load = [&](const TextEngineConfig& settings) {
    return std::make_shared<const TransformerModel>(source, settings.precision, settings.device,
                                                    settings.limits.max_tokens);
  };
  return load_engine(load, to_settings(kwargs));
}

// A program, and what it was found to give.
struct PyProgram {
  std::shared_ptr<const Program> program;
  ProgramOutput output;
};

template <typename Open>
PyProgram open_program(const Open& open, int64_t padding_id) {
  py::gil_scoped_release unlocked;
  std::shared_ptr<const Program> program = open();
  const ProgramOutput output = output_of(*program, padding_id);
  return {std::move(program), output};
}

std::unique_ptr<PyTextEngine> make_engine_of_program(const PyProgram& program, const std::vector<std::string>& files,
                                                     const py::dict& weights, const py::dict& head, int64_t vocabulary,
                                                     int64_t max_positions, int64_t padding_id,
                                                     const py::kwargs& kwargs) {
  const PaddedModelSource source{to_config(head, "head"), to_places(files, weights), vocabulary, max_positions,
                                 padding_id};
  const auto load = [&](const TextEngineConfig&) {
    return std::make_shared<const PaddedModel>(program.program, program.output, source);
  };
  return load_engine(load, to_settings(kwargs));
}

void bind_program(py::module_& module) {
  py::class_<PyProgram>(module, "Program")
      .def_static(
          "package",
          [](const std::string& path, const std::string& device, uint32_t runners, int64_t padding_id) {
            return open_program([&] { return open_package(path, device, runners); }, padding_id);
          },
          py::arg("path"), py::arg("device"), py::arg("runners"), py::arg("padding_id"))
      .def_static(
          "trace",
          [](const std::string& path, const std::string& device, int64_t padding_id) {
            return open_program([&] { return open_trace(path, device); }, padding_id);
          },
          py::arg("path"), py::arg("device"), py::arg("padding_id"))
      .def_static(
          "python",
          [](py::object run, int64_t padding_id) {
            auto program = std::make_shared<const PythonProgram>(std::move(run));
            return open_program([&] { return program; }, padding_id);
          },
          py::arg("run"), py::arg("padding_id"))
      .def(
          "try_text",
          [](const PyProgram& self, int64_t id, int64_t length) {
            py::gil_scoped_release unlocked;
            try_text(*self.program, self.output, id, length);
          },
          py::arg("id"), py::arg("length"))
      .def_property_readonly("of_tokens", [](const PyProgram& self) { return self.output.of_tokens; })
      .def_property_readonly("columns", [](const PyProgram& self) { return self.output.columns; });
}

int64_t submit(PyTextEngine& self, TokenIds ids, uint32_t second_begins, uint32_t prompt_tokens, uint32_t seen,
               int lane, Nanoseconds deadline, py::object tag, uint64_t flow) {
  TextEngine& open = self.engine();
  const Lane in_lane = to_lane(lane);
  void* owned = to_tag(std::move(tag));
  try {
    return submitted(open.submit({std::move(ids), second_begins, prompt_tokens, seen}, in_lane, deadline, owned, flow),
                     owned);
  } catch (...) {
    from_tag(owned);
    throw;
  }
}

}  // namespace

PYBIND11_MODULE(_encoder, module) {
  module.doc() = "Models that read whole texts: vectors, classes, scores.";
  keep_freed_memory();
  register_model_error(module);
  module.def("architectures", &served_architectures, "The model_types of config.json that are served.");
  bind_program(module);
  py::class_<PyTextEngine> cls(module, "EncoderEngine");
  cls.def(py::init(&make_engine), py::arg("config"), py::arg("files"), py::arg("weights"), py::arg("head"))
      .def_static("of_program", &make_engine_of_program, py::arg("program"), py::arg("files"), py::arg("weights"),
                  py::arg("head"), py::arg("vocabulary"), py::arg("max_positions"), py::arg("padding_id"))
      .def("submit", &submit, py::arg("ids"), py::arg("second_begins"), py::arg("prompt_tokens"), py::arg("seen"),
           py::arg("lane"), py::arg("deadline_ns"), py::arg("tag"), py::arg("flow") = 0,
           "Queue a text's token ids; its id, or minus the Admission that refused it. ValueError: an id is none.")
      .def_property_readonly("columns", [](PyTextEngine& self) { return self.engine().model().columns(); })
      .def_property_readonly("vocabulary", [](PyTextEngine& self) { return self.engine().model().vocabulary(); })
      .def_property_readonly("max_positions", [](PyTextEngine& self) { return self.engine().model().max_positions(); })
      .def_property_readonly("equal_lengths_only",
                             [](PyTextEngine& self) { return self.engine().queue().policy().equal_lengths; })
      .def_property_readonly("batch_items",
                             [](PyTextEngine& self) { return self.engine().queue().policy().batch_items; });
  bind_engine_methods(cls);
}

}  // namespace predictor
