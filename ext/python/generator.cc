// Python's view of text generation: the module ext._generator.
#include <malloc.h>
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>

#include "generator/text_generator.h"
#include "python/engine.h"
#include "python/model_source.h"
#include "transformer/threads.h"

namespace predictor {
namespace {

// (token, logarithm of its probability, [(token, logarithm)] of the likeliest) of each
py::list to_list(const std::vector<TokenScore>& scores) {
  py::list list(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    py::list top(scores[i].top.size());
    for (size_t k = 0; k < scores[i].top.size(); ++k) {
      top[k] = py::make_tuple(scores[i].top[k].token, scores[i].top[k].logprob);
    }
    list[i] = py::make_tuple(scores[i].chosen.token, scores[i].chosen.logprob, std::move(top));
  }
  return list;
}

// (of the prompt, of the new tokens), or None
py::object to_scores(const Scores& scores) {
  if (scores.prompt.empty() && scores.generated.empty()) return py::none();
  return py::make_tuple(to_list(scores.prompt), to_list(scores.generated));
}

// (text, token ids, finish reason, scores)
struct GeneratedValue {
  py::object operator()(Request& request) {
    const auto& done = static_cast<GenerateRequest&>(request);
    return py::make_tuple(to_text(done.text), done.generated, static_cast<int>(done.finish), to_scores(done.scores));
  }
};

std::string_view view(const py::handle& buffer) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyByteArray_Check(buffer.ptr())) return {PyByteArray_AS_STRING(buffer.ptr()), py::len(buffer)};
  if (PyBytes_AsStringAndSize(buffer.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

// A form that is found out in Python: a callable that takes a list of tokens and gives the bytes of TokenForm's bits,
// or None.
class PythonForm : public TokenForm {
 public:
  explicit PythonForm(py::object form) : form_(std::move(form)) {}
  ~PythonForm() override {
    const py::gil_scoped_acquire locked;
    form_ = py::object();
  }

  std::vector<uint32_t> after(std::span<const uint32_t> tokens) override {
    const py::gil_scoped_acquire locked;
    try {
      const py::object bits = form_(std::vector<uint32_t>(tokens.begin(), tokens.end()));
      if (bits.is_none()) return {};
      const std::string_view bytes = view(bits);
      std::vector<uint32_t> words((bytes.size() + sizeof(uint32_t) - 1) / sizeof(uint32_t));
      std::memcpy(words.data(), bytes.data(), bytes.size());
      return words;
    } catch (const py::error_already_set& error) {
      throw std::runtime_error(error.what());
    }
  }

 private:
  py::object form_;
};

using PyTextGenerator = PythonEngine<TextGenerator, GeneratedValue>;

Vocabulary to_vocabulary(const py::list& token_bytes, const std::vector<uint32_t>& ends) {
  Vocabulary vocabulary;
  for (const auto& bytes : token_bytes) vocabulary.bytes.emplace_back(view(bytes));
  vocabulary.ends.resize(vocabulary.bytes.size());
  for (const uint32_t token : ends) {
    if (token >= vocabulary.ends.size()) throw py::value_error("a token that is not in the vocabulary");
    vocabulary.ends[token] = true;
  }
  return vocabulary;
}

GenerativeModelSettings take_model_settings(py::dict& settings) {
  GenerativeModelSettings model;
  model.precision = take_precision(settings);
  model.device = take_setting(settings, "device", model.device);
  model.cache_bytes = take_setting(settings, "cache_bytes", model.cache_bytes);
  return model;
}

std::unique_ptr<PyTextGenerator> make_generator(const py::dict& config, const std::vector<std::string>& files,
                                                const py::dict& weights, const py::list& token_bytes,
                                                const std::vector<uint32_t>& ends, const py::kwargs& kwargs) {
  const Config fields = to_config(config, "config.json");
  py::dict settings(kwargs);
  const WeightPlaces places = to_places(files, weights, take_setting(settings, "adapter", py::dict()));
  Vocabulary vocabulary = to_vocabulary(token_bytes, ends);
  GenerativeModelSettings of_model = take_model_settings(settings);
  TextGeneratorConfig of_engine;
  of_engine.slots = take_setting(settings, "slots", of_engine.slots);
  of_engine.threads = take_setting(settings, "threads", of_engine.threads);
  of_engine.limits = take_limits(settings);
  of_engine.policy = take_policy(settings);
  expect_no_more(settings);
  of_model.max_tokens = of_engine.limits.max_tokens;
  std::shared_ptr<TextGenerator> engine;
  {
    py::gil_scoped_release unlocked;
    set_threads(of_engine.threads);
    auto model = std::make_unique<GenerativeModel>(fields, places, of_model);
    malloc_trim(0);  // what the weights were turned and rounded in
    engine = std::make_shared<TextGenerator>(std::move(model), std::move(vocabulary), of_engine);
  }
  return std::make_unique<PyTextGenerator>(std::move(engine));
}

Sampling take_sampling(py::dict& options) {
  Sampling sampling;
  sampling.temperature = take_setting(options, "temperature", sampling.temperature);
  sampling.top_k = take_setting(options, "top_k", sampling.top_k);
  sampling.top_p = take_setting(options, "top_p", sampling.top_p);
  sampling.min_p = take_setting(options, "min_p", sampling.min_p);
  sampling.repetition_penalty = take_setting(options, "repetition_penalty", sampling.repetition_penalty);
  sampling.presence_penalty = take_setting(options, "presence_penalty", sampling.presence_penalty);
  sampling.frequency_penalty = take_setting(options, "frequency_penalty", sampling.frequency_penalty);
  for (const auto& [token, bias] : take_setting(options, "logit_bias", std::map<uint32_t, double>())) {
    sampling.bias.emplace_back(token, bias);
  }
  sampling.seed = take_setting(options, "seed", sampling.seed);
  return sampling;
}

std::unique_ptr<GenerateRequest> to_request(std::vector<uint32_t> prompt, const py::dict& given) {
  py::dict options(given.attr("copy")());
  auto request = std::make_unique<GenerateRequest>();
  request->prompt = std::move(prompt);
  request->max_tokens = take_setting(options, "max_tokens", request->max_tokens);
  request->min_tokens = take_setting(options, "min_tokens", request->min_tokens);
  request->sampling = take_sampling(options);
  request->stops = take_setting(options, "stop", request->stops);
  request->stop_tokens = take_setting(options, "stop_token_ids", request->stop_tokens);
  request->ignores_ends = take_setting(options, "ignore_eos", request->ignores_ends);
  request->top = take_setting(options, "logprobs", request->top);
  request->prompt_top = take_setting(options, "prompt_logprobs", request->prompt_top);
  request->streamed = take_setting(options, "streamed", request->streamed);
  if (py::object form = take_setting(options, "form", py::object(py::none())); !form.is_none()) {
    request->form = std::make_shared<PythonForm>(std::move(form));
  }
  expect_no_more(options);
  return request;
}

int64_t submit(PyTextGenerator& self, std::vector<uint32_t> prompt, const py::dict& options, int lane,
               Nanoseconds deadline, py::object tag, uint64_t flow) {
  auto request = to_request(std::move(prompt), options);
  request->flow = flow;
  request->lane = to_lane(lane);
  request->deadline = deadline;
  TextGenerator& open = self.engine();
  void* owned = to_tag(std::move(tag));
  request->tag = owned;
  try {
    return submitted(open.submit(std::move(request)), owned);
  } catch (...) {
    from_tag(owned);
    throw;
  }
}

// What the model makes of each of `tokens`, read as one text, in chunks of `chunk`: float32 [tokens, vocabulary].
py::bytes text_logits(const py::dict& config, const std::vector<std::string>& files, const py::dict& weights,
                      const std::vector<uint32_t>& tokens, size_t chunk, const py::kwargs& kwargs) {
  const Config fields = to_config(config, "config.json");
  py::dict settings(kwargs);
  const WeightPlaces places = to_places(files, weights, take_setting(settings, "adapter", py::dict()));
  GenerativeModelSettings of_model = take_model_settings(settings);
  expect_no_more(settings);
  if (tokens.empty() || chunk == 0) throw py::value_error("there must be tokens, and chunks of at least one");
  of_model.max_tokens = static_cast<uint32_t>(tokens.size());
  std::string bytes;
  {
    py::gil_scoped_release unlocked;
    GenerativeModel model(fields, places, of_model);
    if (tokens.size() > model.context()) throw py::value_error("more tokens than the model has positions");
    std::vector<uint32_t> pages(model.pages());
    std::iota(pages.rbegin(), pages.rend(), 0u);
    for (size_t first = 0; first < tokens.size(); first += chunk) {
      const size_t count = std::min(chunk, tokens.size() - first);
      std::vector<uint32_t> rows(count);
      std::iota(rows.begin(), rows.end(), 0u);
      for (const uint32_t token : std::span(tokens).subspan(first, count)) {
        if (token >= model.vocabulary()) throw py::value_error("a token that is not in the vocabulary");
      }
      const SequenceChunk read{{tokens.data() + first, count}, first, pages};
      const std::span<const float> logits = model.forward({&read, 1}, rows);
      bytes.append(reinterpret_cast<const char*>(logits.data()), logits.size_bytes());
    }
  }
  return py::bytes(bytes);
}

py::list progress(PyTextGenerator& self) {
  const std::vector<Progress> all = self.engine().progress();
  py::list list(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    list[i] = py::make_tuple(all[i].id, to_text(all[i].text), all[i].token_count, to_scores(all[i].scores));
  }
  return list;
}

py::bytes bytes_of(PyTextGenerator& self, uint32_t token) {
  const Vocabulary& vocabulary = self.engine().vocabulary();
  if (token >= vocabulary.bytes.size()) throw py::value_error("a token that is not in the vocabulary");
  return py::bytes(vocabulary.bytes[token]);
}

py::dict stats(PyTextGenerator& self) {
  const TextGeneratorStats own = self.engine().stats();
  py::dict all = stats_dict(self.engine().queue().stats());
  all["batches"] = own.steps;
  all["generated_tokens"] = own.tokens;
  all["prompt_tokens"] = own.prompt_tokens;
  all["cached_tokens"] = own.cached_tokens;
  all["put_back"] = own.put_back;
  all["busy_slots"] = own.busy_slots;
  all["held_pages"] = own.held_pages;
  all["left_at_step"] = own.left_at_step;
  return all;
}

void bind_step_budget(py::module_& module) {
  py::class_<StepBudget>(module, "StepBudget")
      .def(py::init<>())
      .def("prompt_tokens", &StepBudget::prompt_tokens, py::arg("decoding"),
           "How many tokens of prompts a step may read beside so many texts that grow.")
      .def("measured", &StepBudget::measured, py::arg("decoding"), py::arg("prompt_tokens"), py::arg("ns"),
           "What such a step took.");
}

}  // namespace

PYBIND11_MODULE(_generator, module) {
  module.doc() = "Text generation: requests join and leave a running batch between steps, without the GIL.";
  keep_freed_memory();
  register_model_error(module);
  py::native_enum<FinishReason>(module, "FinishReason", "enum.IntEnum", "Why a text ended.")
      .value("LENGTH", FinishReason::length)
      .value("STOP", FinishReason::stop)
      .value("END_OF_TEXT", FinishReason::end_of_text)
      .value("DEADLINE", FinishReason::deadline)
      .finalize();
  module.def("architectures", &generator_architectures, "The model_types of config.json that generate text.");
  py::class_<PyTextGenerator> generator(module, "TextGenerator");
  generator
      .def(py::init(&make_generator), py::arg("config"), py::arg("files"), py::arg("weights"), py::arg("token_bytes"),
           py::arg("ends"))
      .def("submit", &submit, py::arg("prompt"), py::arg("options"), py::arg("lane"), py::arg("deadline_ns"),
           py::arg("tag"), py::arg("flow") = 0,
           "Queue a prompt of token ids; its id, or minus the Admission that refused it.")
      .def("bytes_of", &bytes_of, py::arg("token"), "What the token writes; nothing for those that are not shown.")
      .def("progress", &progress,
           "What streamed texts have grown by: (id, text, tokens so far, scores). Fetch results() first, hand out this "
           "first.")
      .def_property_readonly("context", [](PyTextGenerator& self) { return self.engine().model().context(); })
      .def_property_readonly("positions", [](PyTextGenerator& self) { return self.engine().model().positions(); })
      .def_property_readonly("page_bytes", [](PyTextGenerator& self) { return self.engine().model().page_bytes(); })
      .def_property_readonly("vocabulary", [](PyTextGenerator& self) { return self.engine().model().vocabulary(); })
      .def_property_readonly("pages", [](PyTextGenerator& self) { return self.engine().model().pages(); })
      .def_property_readonly("batch_invariant",
                             [](PyTextGenerator& self) { return self.engine().model().is_batch_invariant(); });
  generator.def("stats", &stats, "Counters since the start, and what waits and runs now; a batch is a step.");
  bind_engine_methods(generator);  // its own stats() come second, and are not reached
  bind_step_budget(module);
  module.def("text_logits", &text_logits, py::arg("config"), py::arg("files"), py::arg("weights"), py::arg("tokens"),
             py::arg("chunk") = 512, "The logits after each token of a text: native float32 [tokens, vocabulary].");
  module.def(
      "give_back_memory", [] { malloc_trim(0); }, py::call_guard<py::gil_scoped_release>(),
      "To the kernel, what was freed: glibc keeps it, as the server asks it to (python/torchscript.cc).");
  module.def("uniform", &uniform, py::arg("seed"), py::arg("index"), "The number that a token is drawn with.");
}

}  // namespace predictor
