#include "python/encoder.h"

#include <pybind11/stl.h>

#include <memory>

#include "encoder/engine.h"
#include "encoder/operators.h"
#include "python/engine.h"

namespace predictor {
namespace {

EncoderConfig to_config(py::dict settings) {
  EncoderConfig config;
  config.replicas = take_setting(settings, "replicas", config.replicas);
  config.threads = take_setting(settings, "threads", config.threads);
  config.warm_up_tokens = take_setting(settings, "warm_up_tokens", config.warm_up_tokens);
  config.vocabulary = take_setting(settings, "vocabulary", config.vocabulary);
  config.device = take_setting(settings, "device", config.device);
  config.limits = take_limits(settings);
  config.policy = take_policy(settings);
  config.policy.pads = false;
  expect_no_more(settings);
  return config;
}

struct VectorValue {
  py::object operator()(Request& request) const {
    const Vector& vector = static_cast<EncodeRequest&>(request).vector;
    return py::bytes(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
  }
};

using PyEncoderEngine = PythonEngine<EncoderEngine, VectorValue>;

std::unique_ptr<PyEncoderEngine> make_engine(const std::string& path, const py::kwargs& settings) {
  const EncoderConfig config = to_config(settings);
  std::shared_ptr<EncoderEngine> engine;
  {
    py::gil_scoped_release unlocked;
    engine = std::make_shared<EncoderEngine>(path, config);
  }
  return std::make_unique<PyEncoderEngine>(std::move(engine));
}

int64_t submit(PyEncoderEngine& self, TokenIds ids, int lane, Nanoseconds deadline, py::object tag) {
  EncoderEngine& open = self.engine();
  const Lane in_lane = to_lane(lane);
  void* owned = to_tag(std::move(tag));
  try {
    return submitted(open.submit(std::move(ids), in_lane, deadline, owned), owned);
  } catch (...) {
    from_tag(owned);
    throw;
  }
}

}  // namespace

void bind_encoder(py::module_& module) {
  register_operators();
  py::class_<PyEncoderEngine> cls(module, "EncoderEngine");
  cls.def(py::init(&make_engine), py::arg("path"))
      .def("submit", &submit, py::arg("ids"), py::arg("lane"), py::arg("deadline_ns"), py::arg("tag"),
           "Queue a text's token ids; its id, or minus the Admission that refused it. ValueError: an id is none.")
      .def_property_readonly("dimensions", [](PyEncoderEngine& self) { return self.engine().dimensions(); });
  bind_engine_methods(cls);
}

}  // namespace predictor
