// Python's view of the TorchScript engine: the module ext._torchscript.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <map>
#include <memory>
#include <string_view>

#include "python/engine.h"
#include "text/json.h"
#include "text/scores.h"
#include "torchscript/engine.h"

namespace predictor {
namespace {

// Labels as Python strings, made once for each set of labels.
class LabelCache {
 public:
  const std::vector<py::str>& strings(const std::shared_ptr<const Labels>& labels) {
    if (labels == last_) return *last_strings_;
    if (known_.size() >= kKept) known_.clear();
    auto& entry = known_[labels.get()];
    if (!entry.first) {
      entry.first = labels;
      for (const std::string& label : *labels) entry.second.push_back(to_text(label));
    }
    last_ = labels;
    last_strings_ = &entry.second;
    return entry.second;
  }

 private:
  static constexpr size_t kKept = 64;  // sets of labels that vary with the text (word tagging) are not kept for ever
  std::map<const Labels*, std::pair<std::shared_ptr<const Labels>, std::vector<py::str>>> known_;
  std::shared_ptr<const Labels> last_;
  std::vector<py::str>* last_strings_ = nullptr;
};

py::object to_python(const Result& result, LabelCache& cache) {
  if (!result.labels) {
    const std::vector<float> vector(result.values.begin(), result.values.end());
    return py::bytes(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
  }
  const auto& labels = cache.strings(result.labels);
  py::dict scores;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (PyDict_SetItem(scores.ptr(), labels[i].ptr(), py::float_(result.values[i]).ptr()) != 0) {
      throw py::error_already_set();
    }
  }
  return scores;
}

EngineConfig to_config(py::dict settings) {
  EngineConfig config;
  config.replicas = take_setting(settings, "replicas", config.replicas);
  config.threads = take_setting(settings, "threads", config.threads);
  config.warm_up_tokens = take_setting(settings, "warm_up_tokens", config.warm_up_tokens);
  config.device = take_setting(settings, "device", config.device);
  config.inline_us = take_setting(settings, "inline_us", config.inline_us);
  config.max_token_bytes = take_setting(settings, "max_token_bytes", config.max_token_bytes);
  config.max_message_bytes = take_setting(settings, "max_message_bytes", config.max_message_bytes);
  config.equal_lengths = take_setting(settings, "equal_lengths", config.equal_lengths);
  config.limits = take_limits(settings);
  config.policy = take_policy(settings);
  expect_no_more(settings);
  return config;
}

struct PredictValue {
  py::object operator()(Request& request) {
    const auto& answered = static_cast<PredictRequest&>(request);
    if (!answered.written.empty()) return py::bytes(answered.written);
    return to_python(answered.result, cache);
  }
  LabelCache cache;
};

using PyTorchScriptEngine = PythonEngine<TorchScriptEngine, PredictValue>;

std::unique_ptr<PyTorchScriptEngine> make_engine(const std::string& path, const py::kwargs& settings) {
  const EngineConfig config = to_config(settings);
  std::shared_ptr<TorchScriptEngine> engine;
  {
    py::gil_scoped_release unlocked;
    engine = std::make_shared<TorchScriptEngine>(path, config);
  }
  return std::make_unique<PyTorchScriptEngine>(std::move(engine));
}

int64_t submit(PyTorchScriptEngine& self, const py::str& text, int lane, Nanoseconds deadline, py::object tag,
               uint64_t flow, std::shared_ptr<ScoresForm> form) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (bytes == nullptr) throw py::error_already_set();
  TorchScriptEngine& open = self.engine();
  const Lane in_lane = to_lane(lane);
  void* owned = to_tag(std::move(tag));
  return submitted(open.submit({bytes, static_cast<size_t>(size)}, in_lane, deadline, owned, flow, std::move(form)),
                   owned);
}

std::shared_ptr<ScoresForm> make_form(Labels labels, std::vector<std::string> around, bool big_endian) {
  if (around.size() != labels.size() + 1) throw py::value_error("around has one more than there are labels");
  return std::make_shared<ScoresForm>(ScoresForm{false, std::move(labels), std::move(around), big_endian});
}

// Many texts of one caller, who waits for all of them without the GIL, on a thread of his own.
class Bulk {
 public:
  Bulk(std::shared_ptr<TorchScriptEngine> engine, py::list texts)
      : engine_(engine), texts_(std::move(texts)), collector_(std::make_shared<Collector>(texts_.size())) {
    views_.reserve(texts_.size());
    for (const py::handle text : texts_) {
      if (!PyUnicode_Check(text.ptr())) throw py::type_error("a text is a str");
      Py_ssize_t size = 0;
      const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);  // lives as long as the text
      if (bytes == nullptr) PyErr_Clear();
      views_.emplace_back(bytes, bytes == nullptr ? 0 : static_cast<size_t>(size));
    }
  }

  bool submit() {
    const std::shared_ptr<TorchScriptEngine> engine = engine_.lock();
    if (!engine) throw std::runtime_error("the engine is closed");
    py::gil_scoped_release unlocked;
    submitted_ = engine->submit_bulk(views_, submitted_, collector_);
    return submitted_ == views_.size();
  }

  bool wait(double seconds) {
    py::gil_scoped_release unlocked;
    return collector_->wait(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds)));
  }

  // `before` goes in front of each result.
  py::list results(const std::string& before) {
    std::vector<std::string> json;
    {
      py::gil_scoped_release unlocked;
      if (!collector_->wait(std::chrono::nanoseconds::zero())) throw std::runtime_error("not all results are there");
      JsonWriter writer;
      for (const RequestPtr& request : collector_->outcomes()) {
        const bool is_result = request->status == Status::ok;
        json.push_back(is_result ? before + writer.write(static_cast<PredictRequest&>(*request).result) : "");
      }
    }
    py::list results(json.size());
    for (size_t i = 0; i < json.size(); ++i) {
      const Request& request = *collector_->outcomes()[i];
      if (request.status == Status::ok) {
        results[i] = py::bytes(json[i]);
      } else {
        results[i] = py::make_tuple(static_cast<int>(request.status), to_text(request.message));
      }
    }
    return results;
  }

 private:
  const std::weak_ptr<TorchScriptEngine> engine_;
  const py::list texts_;
  const std::shared_ptr<Collector> collector_;
  std::vector<std::string_view> views_;
  size_t submitted_ = 0;
};

const char* output_name(OutputKind kind) {
  switch (kind) {
    case OutputKind::labels:
      return "labels";
    case OutputKind::label_sets:
      return "label_sets";
    case OutputKind::score:
      return "score";
    case OutputKind::vectors:
      return "vectors";
  }
  return "";
}

}  // namespace

PYBIND11_MODULE(_torchscript, module) {
  module.doc() = "TorchScript models behind a batching queue, run by threads that never take the GIL.";
  keep_freed_memory();
  register_model_error(module);
  py::class_<Bulk>(module, "Bulk")
      .def("submit", &Bulk::submit, "Queue what the queue has room for; whether all texts have been taken.")
      .def("wait", &Bulk::wait, py::arg("seconds"), "Whether all outcomes are there, or come within the time.")
      .def("results", &Bulk::results, py::arg("before"), "For each text its result in JSON, or (status, message).");
  py::class_<ScoresForm, std::shared_ptr<ScoresForm>>(module, "ScoresForm")
      .def(py::init(&make_form), py::arg("labels"), py::arg("around"), py::arg("big_endian"),
           "Numbers of eight bytes with these bytes before each, and at the end.");
  module.attr("JSON") = std::make_shared<ScoresForm>(ScoresForm{true, {}, {}, false});
  py::class_<PyTorchScriptEngine> cls(module, "TorchScriptEngine");
  cls.def(py::init(&make_engine), py::arg("path"))
      .def("submit", &submit, py::arg("text"), py::arg("lane"), py::arg("deadline_ns"), py::arg("tag"),
           py::arg("flow") = 0, py::arg("form") = nullptr,
           "Queue a document; its id, or minus the Admission that refused it. With a form the value is bytes in it, if "
           "it fits the labels and all scores are finite.")
      .def(
          "bulk",
          [](PyTorchScriptEngine& self, py::list texts) {
            return std::make_unique<Bulk>(self.shared_engine(), std::move(texts));
          },
          py::arg("texts"), "Many texts for the bulk lane, whose results come as JSON.")
      .def_property_readonly("takes_texts",
                             [](PyTorchScriptEngine& self) { return self.engine().model().takes_texts(); })
      .def_property_readonly("output",
                             [](PyTorchScriptEngine& self) { return output_name(self.engine().model().output()); })
      .def_property_readonly("labels",
                             [](PyTorchScriptEngine& self) {
                               py::list labels;
                               const Result& sample = self.engine().sample();
                               if (sample.labels) {
                                 for (const std::string& label : *sample.labels) labels.append(to_text(label));
                               }
                               return labels;
                             })
      .def_property_readonly("dimensions",
                             [](PyTorchScriptEngine& self) {
                               const Result& sample = self.engine().sample();
                               return sample.labels ? size_t{0} : sample.values.size();
                             })
      .def_property_readonly("byte_limit", [](PyTorchScriptEngine& self) { return self.engine().byte_limit(); })
      .def_property_readonly("equal_lengths_only",
                             [](PyTorchScriptEngine& self) { return self.engine().queue().policy().equal_lengths; });
  bind_engine_methods(cls);
}

}  // namespace predictor
