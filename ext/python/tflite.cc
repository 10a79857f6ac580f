// The Python module ext._tflite_ops: operators for tflite-runtime, and the reply session that drives an interpreter.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <bit>
#include <stdexcept>

#include "python/engine.h"
#include "smart_reply/engine.h"
#include "smart_reply/fingerprint.h"
#include "smart_reply/operators.h"
#include "smart_reply/projection.h"
#include "smart_reply/session.h"
#include "smart_reply/text.h"
#include "tflite/library.h"
#include "tflite/model_file.h"

using predictor::smart_reply::Instructions;
using predictor::smart_reply::Ports;
using predictor::smart_reply::Replies;
using predictor::smart_reply::ReplyFilter;
using predictor::smart_reply::ReplyRequest;
using predictor::smart_reply::Session;
using predictor::smart_reply::SmartReplyEngine;

namespace predictor::tflite {

namespace {

void open_runtime() {
  auto version = py::module_::import("tflite_runtime").attr("__version__").cast<std::string>();
  auto binary = py::module_::import("tflite_runtime._pywrap_tensorflow_interpreter_wrapper");
  try {
    open_library(binary.attr("__file__").cast<std::string>(), version);
  } catch (const std::runtime_error& error) {
    throw py::import_error(error.what());
  }
}

void verify_model(const py::bytes& model) {
  std::string fault = model_fault(model);
  if (!fault.empty()) throw std::invalid_argument(fault);
}

void verify_tensors(const py::bytes& model) {
  std::string fault = tensor_fault(model);
  if (!fault.empty()) throw std::invalid_argument(fault);
}

std::shared_ptr<Session> make_session(const py::object& interpreter, const Ports::Port& message,
                                      const Ports::Port& texts, const Ports::Port& scores,
                                      const std::vector<int>& constants) {
  Context* context = take_context();
  if (!context) throw std::invalid_argument("the graph must have one operator Normalize, in one subgraph");
  auto handle = interpreter.attr("_native_handle")().cast<std::uintptr_t>();
  return std::make_shared<Session>(reinterpret_cast<Interpreter*>(handle), context, Ports{message, texts, scores},
                                   constants);
}

py::dict to_dict(const Replies& replies) {
  py::dict result;
  for (const auto& [text, score] : replies) result[py::str(text)] = static_cast<double>(score);
  return result;
}

py::dict merged_replies(Session& session, const std::vector<std::string>& messages) {
  Replies replies;
  {
    py::gil_scoped_release unlocked;
    replies = session.replies({messages.begin(), messages.end()});
  }
  return to_dict(replies);
}

py::list separate_replies(Session& session, const std::vector<std::string>& messages) {
  std::vector<Replies> all;
  {
    py::gil_scoped_release unlocked;
    for (const std::string& message : messages) all.push_back(session.replies({message}));
  }
  py::list result;
  for (const Replies& replies : all) result.append(to_dict(replies));
  return result;
}

struct ReplyValue {
  py::object operator()(Request& request) const { return to_dict(static_cast<ReplyRequest&>(request).replies); }
};

// Its sessions live as long as it: with them their interpreters, which are Python's.
struct PySmartReplyEngine : PythonEngine<SmartReplyEngine, ReplyValue> {
  PySmartReplyEngine(py::tuple sessions, std::shared_ptr<SmartReplyEngine> engine)
      : PythonEngine(std::move(engine)), sessions(std::move(sessions)) {}
  ~PySmartReplyEngine() { close(); }
  const py::tuple sessions;
};

std::unique_ptr<PySmartReplyEngine> make_engine(const py::tuple& sessions, const py::kwargs& kwargs) {
  py::dict settings(kwargs);
  const auto inline_us = take_setting(settings, "inline_us", uint32_t{200});
  const QueueLimits limits = take_limits(settings);
  const PolicyConfig policy = take_policy(settings);
  expect_no_more(settings);
  auto opened = sessions.cast<std::vector<std::shared_ptr<Session>>>();
  std::shared_ptr<SmartReplyEngine> engine;
  {
    py::gil_scoped_release unlocked;
    engine = std::make_shared<SmartReplyEngine>(std::move(opened), inline_us, limits, policy);
  }
  return std::make_unique<PySmartReplyEngine>(sessions, std::move(engine));
}

int64_t submit(PySmartReplyEngine& self, std::vector<std::string> messages, std::optional<uint32_t> max_replies,
               std::optional<double> threshold, uint32_t tokens, int lane, Nanoseconds deadline, py::object tag) {
  auto request = std::make_unique<ReplyRequest>();
  request->messages = std::move(messages);
  request->reply_filter = {max_replies, threshold};
  request->tokens = tokens;
  request->lane = to_lane(lane);
  request->deadline = deadline;
  SmartReplyEngine& open = self.engine();
  void* owned = to_tag(std::move(tag));
  request->tag = owned;
  return submitted(open.submit(std::move(request)), owned);
}

std::vector<double> projection_sums(const std::vector<float>& seeds, const std::vector<int32_t>& ids,
                                    const std::vector<float>& weights, Instructions instructions) {
  if (ids.size() != weights.size()) throw std::invalid_argument("ids and weights must be of the same length");
  if (!smart_reply::is_supported(instructions)) throw std::invalid_argument("this processor lacks these instructions");
  std::vector<uint32_t> bits;
  for (float seed : seeds) bits.push_back(std::bit_cast<uint32_t>(seed));
  std::vector<double> sums(seeds.size());
  smart_reply::projection_kernel(instructions)(bits.data(), bits.size(), {ids.data(), weights.data(), ids.size()},
                                               sums.data());
  return sums;
}

void bind_text_rules(py::module_& module) {
  module.def(
      "segments",
      [](const std::string& message) {
        py::list result;
        for (const std::string& segment : smart_reply::segments(message)) result.append(py::bytes(segment));
        return result;
      },
      py::arg("message"), "The segments that a message is cut into, at least one.");
  module.def(
      "normalized", [](const std::string& segment) { return py::bytes(smart_reply::normalized(segment)); },
      py::arg("segment"), "A segment in the model's form, `<S> text <E>`.");
  module.def(
      "fingerprint64", [](const std::string& bytes) { return smart_reply::fingerprint64(bytes); }, py::arg("data"),
      "FarmHash Fingerprint64.");
}

void bind_projection(py::module_& module) {
  py::enum_<Instructions>(module, "Instructions", "Implementations of the projection.")
      .value("PORTABLE", Instructions::kPortable)
      .value("AVX2", Instructions::kAvx2)
      .value("AVX512", Instructions::kAvx512);
  module.def("is_supported", &smart_reply::is_supported, py::arg("instructions"), "Whether this processor has them.");
  module.def("best_instructions", &smart_reply::best_instructions, "What LSH_PROJECTION uses on this processor.");
  module.def("projection_sums", &projection_sums, py::arg("seeds"), py::arg("ids"), py::arg("weights"),
             py::arg("instructions"), "For each seed the weighted sum of its hashes with the ids.");
}

void bind_session(py::module_& module) {
  module.def(
      "register_operators",
      [](std::uintptr_t resolver) { register_operators(reinterpret_cast<Resolver*>(resolver), true); },
      py::arg("resolver"), "Adds all operators; for InterpreterWithCustomOps(custom_op_registerers=[...]).");
  module.def(
      "register_operators_with_stock_projection",
      [](std::uintptr_t resolver) { register_operators(reinterpret_cast<Resolver*>(resolver), false); },
      py::arg("resolver"), "The same, but LSH_PROJECTION stays the runtime's own.");
  module.def("verify_model", &verify_model, py::arg("model"),
             "Raises ValueError when the bytes are not a well-formed model: the runtime itself does not look.");
  module.def(
      "verify_tensors", &verify_tensors, py::arg("model"),
      "Raises ValueError when a verified model has broken strings, or an operator that reads what nobody wrote.");
  py::class_<Ports::Port>(module, "Port", "A tensor of the graph: index and name.")
      .def(py::init<int, std::string>(), py::arg("index"), py::arg("name"));
  py::class_<Session, std::shared_ptr<Session>>(module, "Session",
                                                "Messages through one interpreter; computes without the GIL.")
      .def(py::init(&make_session), py::arg("interpreter"), py::arg("message"), py::arg("texts"), py::arg("scores"),
           py::arg("constants"), py::keep_alive<1, 2>(),
           "Must follow the making of the interpreter on the same thread.")
      .def("merged_replies", &merged_replies, py::arg("messages"),
           "One dict reply -> score for all messages (UTF-8 bytes), best first; scores add up.")
      .def("separate_replies", &separate_replies, py::arg("messages"), "One dict for each message.");
}

void bind_engine(py::module_& module) {
  py::class_<PySmartReplyEngine> cls(module, "SmartReplyEngine", "Sessions behind a queue, each with its own worker.");
  cls.def(py::init(&make_engine), py::arg("sessions"))
      .def("submit", &submit, py::arg("messages"), py::arg("max_replies"), py::arg("threshold"), py::arg("tokens"),
           py::arg("lane"), py::arg("deadline_ns"), py::arg("tag"),
           "Queue messages that are answered together; the id, or minus the Admission that refused them.");
  bind_engine_methods(cls);
}

}  // namespace

}  // namespace predictor::tflite

PYBIND11_MODULE(_tflite_ops, module) {
  module.doc() = "Smart Reply operators for tflite-runtime";
  predictor::tflite::open_runtime();
  predictor::tflite::bind_text_rules(module);
  predictor::tflite::bind_projection(module);
  predictor::tflite::bind_session(module);
  predictor::tflite::bind_engine(module);
}
