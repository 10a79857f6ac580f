// The Python module ext._smart_reply: .tflite files, and the executor of Smart Reply's graph with its queue.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <bit>
#include <stdexcept>

#include "python/engine.h"
#include "smart_reply/engine.h"
#include "smart_reply/features.h"
#include "smart_reply/fingerprint.h"
#include "smart_reply/model.h"
#include "smart_reply/projection.h"
#include "smart_reply/signatures.h"
#include "smart_reply/text.h"
#include "tflite/model_file.h"

namespace predictor::smart_reply {

namespace {

using tflite::ModelFile;

// ----------------------------------------------------------------------------------------------------- the text rules

py::list to_bytes(const std::vector<std::string>& texts) {
  py::list result;
  for (const std::string& text : texts) result.append(py::bytes(text));
  return result;
}

SkipGramOptions checked(const SkipGramOptions& options) {
  if (options.ngram_size < 1 || options.ngram_size > kMaxNgramSize || options.max_skip < 0 ||
      options.max_skip > kMaxSkip) {
    throw std::invalid_argument("n-grams are of 1 to 5 words and skip 0 to 10");
  }
  return options;
}

py::list skip_grams(const std::string& text, const SkipGramOptions& options) {
  std::vector<std::string> found;
  SkipGrams().list(text, checked(options), [&](std::string_view ngram, int) { found.emplace_back(ngram); });
  return to_bytes(found);
}

py::tuple features(const std::string& normalized, const SkipGramOptions& options) {
  SkipGrams grams;
  FeatureList found;
  extract_features(normalized, checked(options), grams, found);
  return py::make_tuple(found.ids, found.weights);
}

void bind_text_rules(py::module_& module) {
  module.def(
      "segments", [](const std::string& message) { return to_bytes(segments(message)); }, py::arg("message"),
      "The segments that a message is cut into, at least one.");
  module.def(
      "normalized", [](const std::string& segment) { return py::bytes(normalized(segment)); }, py::arg("segment"),
      "A segment in the model's form, `<S> text <E>`.");
  module.def(
      "fingerprint64", [](const std::string& bytes) { return fingerprint64(bytes); }, py::arg("data"),
      "FarmHash Fingerprint64.");
  py::class_<SkipGramOptions>(module, "SkipGramOptions", "Options of the operator SKIP_GRAM.")
      .def(py::init<int, int, bool>(), py::arg("ngram_size") = 3, py::arg("max_skip") = 2,
           py::arg("include_all") = true);
  module.def("skip_grams", &skip_grams, py::arg("text"), py::arg("options"), "The n-grams of SKIP_GRAM.");
  module.def("features", &features, py::arg("normalized"), py::arg("options"), "Ids and weights of ExtractFeatures.");
}

// ------------------------------------------------------------------------------------------------------ the projection

std::vector<uint32_t> bits_of(const std::vector<float>& seeds) {
  std::vector<uint32_t> bits;
  for (float seed : seeds) bits.push_back(std::bit_cast<uint32_t>(seed));
  return bits;
}

std::vector<double> projection_sums(const std::vector<float>& seeds, const std::vector<int32_t>& ids,
                                    const std::vector<float>& weights, Instructions instructions) {
  if (ids.size() != weights.size()) throw std::invalid_argument("ids and weights must be of the same length");
  if (!is_supported(instructions)) throw std::invalid_argument("this processor lacks these instructions");
  std::vector<double> sums(seeds.size());
  projection_kernel(instructions)(bits_of(seeds).data(), seeds.size(), {ids.data(), weights.data(), ids.size()},
                                  sums.data());
  return sums;
}

// A projection with seeds of its own: what a model is trained with.
class PyProjection {
 public:
  PyProjection(const std::vector<std::vector<float>>& rows, const SkipGramOptions& options)
      : seeds_(joined(rows)), projection_(checked(options), {seeds_, rows[0].size(), true, true}) {}

  std::vector<int32_t> signatures(const std::string& segment) {
    projection_.project(segment, scratch_);
    return scratch_.signatures;
  }

 private:
  static std::vector<uint32_t> joined(const std::vector<std::vector<float>>& rows) {
    const size_t bits = rows.empty() ? 0 : rows[0].size();
    if (const char* fault = shape_fault(rows.size(), bits, true)) throw std::invalid_argument(fault);
    std::vector<float> all;
    for (const std::vector<float>& row : rows) {
      if (row.size() != bits) throw std::invalid_argument("the rows of seeds must be of the same length");
      all.insert(all.end(), row.begin(), row.end());
    }
    return bits_of(all);
  }

  const std::vector<uint32_t> seeds_;
  const Projection projection_;
  Projection::Scratch scratch_;
};

void bind_projection(py::module_& module) {
  py::enum_<Instructions>(module, "Instructions", "Implementations of the projection.")
      .value("PORTABLE", Instructions::kPortable)
      .value("AVX2", Instructions::kAvx2)
      .value("AVX512", Instructions::kAvx512);
  module.def("is_supported", &is_supported, py::arg("instructions"), "Whether this processor has them.");
  module.def("best_instructions", &best_instructions, "What the projection uses on this processor.");
  module.def("projection_sums", &projection_sums, py::arg("seeds"), py::arg("ids"), py::arg("weights"),
             py::arg("instructions"), "For each seed the weighted sum of its hashes with the ids.");
  py::class_<PyProjection>(module, "Projection", "From segments to sparse signatures; of one thread at a time.")
      .def(py::init<const std::vector<std::vector<float>>&, const SkipGramOptions&>(), py::arg("seeds"),
           py::arg("options"))
      .def("signatures", &PyProjection::signatures, py::arg("segment"), "One for each row of seeds.");
}

// ----------------------------------------------------------------------------------------------------------- the model

py::str to_str(std::string_view utf8) {
  PyObject* text = PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::dict to_dict(const Replies& replies) {
  py::dict result;
  for (const auto& [text, score] : replies) result[to_str(text)] = static_cast<double>(score);
  return result;
}

std::shared_ptr<Model> make_model(const ModelFile& file) {
  auto model = std::make_shared<Model>(file);
  for (size_t i = 0; i < model->graph().responses.size(); ++i) {
    try {
      to_str(model->graph().responses[i]);
    } catch (const py::error_already_set& error) {
      throw ModelError("response " + std::to_string(i) +
                       " is not UTF-8: " + py::str(error.value()).cast<std::string>());
    }
  }
  return model;
}

py::dict merged_replies(const Model& model, const std::vector<std::string>& messages) {
  Replies replies;
  {
    py::gil_scoped_release unlocked;
    Model::Scratch scratch;
    replies = model.replies(messages, scratch);
  }
  return to_dict(replies);
}

py::list separate_replies(const Model& model, const std::vector<std::string>& messages) {
  std::vector<Replies> all;
  {
    py::gil_scoped_release unlocked;
    Model::Scratch scratch;
    for (const std::string& message : messages) all.push_back(model.replies({&message, 1}, scratch));
  }
  py::list result;
  for (const Replies& replies : all) result.append(to_dict(replies));
  return result;
}

py::list best_labels(const Model& model, const std::vector<int32_t>& signatures) {
  ReplyTable::Scratch scratch;
  model.graph().table.find(signatures, scratch);
  py::list result;
  for (const LabelScore& found : scratch.tally.sums()) result.append(py::make_tuple(found.label, found.score));
  return result;
}

py::list operator_names(const ModelFile& file) {
  py::list names;
  for (const std::string& name : file.operator_names()) names.append(to_text(name));
  return names;
}

void bind_model(py::module_& module) {
  py::class_<ModelFile>(module, "ModelFile", "A .tflite file that was found well formed.")
      .def_static(
          "read", [](int descriptor) { return ModelFile(tflite::read(descriptor)); }, py::arg("descriptor"),
          "The file that a descriptor is open on.")
      .def_static(
          "copied", [](const std::string& content) { return ModelFile(tflite::copied(content)); }, py::arg("content"))
      .def_property_readonly(
          "content", [](const ModelFile& file) { return py::bytes(*file.content()); }, "A copy of its bytes.")
      .def_property_readonly("operators", &operator_names, "Names of the first subgraph's operators.")
      .def_property_readonly("is_smart_reply", &is_smart_reply, "Whether these are those of Smart Reply's graph.")
      .def("check_tensors", &ModelFile::check_tensors,
           "Raises ModelError for broken strings, and for an operator that reads what nobody wrote.");
  py::class_<Model, std::shared_ptr<Model>>(module, "Model",
                                            "Messages to replies; of any number of threads, without the GIL.")
      .def(py::init(&make_model), py::arg("file"))
      .def("merged_replies", &merged_replies, py::arg("messages"),
           "One dict reply -> score for all messages (UTF-8 bytes), best first; scores add up.")
      .def("separate_replies", &separate_replies, py::arg("messages"), "One dict for each message.")
      .def("best_labels", &best_labels, py::arg("signatures"), "What Predict gives: labels with their scores.");
}

// ---------------------------------------------------------------------------------------------------------- the engine

struct ReplyValue {
  py::object operator()(Request& request) const { return to_dict(static_cast<ReplyRequest&>(request).replies); }
};
using PySmartReplyEngine = PythonEngine<SmartReplyEngine, ReplyValue>;

std::unique_ptr<PySmartReplyEngine> make_engine(const std::shared_ptr<Model>& model, const py::kwargs& kwargs) {
  py::dict settings(kwargs);
  const auto workers = take_setting(settings, "workers", uint32_t{1});
  const auto inline_us = take_setting(settings, "inline_us", uint32_t{200});
  const QueueLimits limits = take_limits(settings);
  const PolicyConfig policy = take_policy(settings);
  expect_no_more(settings);
  py::gil_scoped_release unlocked;
  return std::make_unique<PySmartReplyEngine>(
      std::make_shared<SmartReplyEngine>(model, workers, inline_us, limits, policy));
}

int64_t submit(PySmartReplyEngine& self, std::vector<std::string> messages, std::optional<uint32_t> max_replies,
               std::optional<double> threshold, uint32_t tokens, int lane, Nanoseconds deadline, py::object tag,
               uint64_t flow) {
  auto request = std::make_unique<ReplyRequest>();
  request->messages = std::move(messages);
  request->reply_filter = {max_replies, threshold};
  request->tokens = tokens;
  request->flow = flow;
  request->lane = to_lane(lane);
  request->deadline = deadline;
  SmartReplyEngine& open = self.engine();
  void* owned = to_tag(std::move(tag));
  request->tag = owned;
  return submitted(open.submit(std::move(request)), owned);
}

void bind_engine(py::module_& module) {
  py::class_<PySmartReplyEngine> cls(module, "SmartReplyEngine", "A model behind a queue, with workers that share it.");
  cls.def(py::init(&make_engine), py::arg("model"))
      .def("submit", &submit, py::arg("messages"), py::arg("max_replies"), py::arg("threshold"), py::arg("tokens"),
           py::arg("lane"), py::arg("deadline_ns"), py::arg("tag"), py::arg("flow") = 0,
           "Queue messages that are answered together; the id, or minus the Admission that refused them.");
  bind_engine_methods(cls);
}

}  // namespace

}  // namespace predictor::smart_reply

PYBIND11_MODULE(_smart_reply, module) {
  module.doc() = "TensorFlow Lite files, and the executor of Smart Reply's graph";
  predictor::keep_freed_memory();
  predictor::register_model_error(module);
  predictor::smart_reply::bind_text_rules(module);
  predictor::smart_reply::bind_projection(module);
  predictor::smart_reply::bind_model(module);
  predictor::smart_reply::bind_engine(module);
}
