#include "package/inductor.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "transformer/device.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

using torch::inductor::AOTIModelPackageLoader;

constexpr const char* kInputs[] = {"input_ids", "attention_mask", "token_type_ids"};

// The names of keyword arguments, or as many of kInputs as there are arguments by place. `spec` is
// torch.utils._pytree's description of (args, kwargs): the strings of the context of its dict, and a leaf for each
// tensor.
std::vector<std::string> input_names(std::string_view spec) {
  constexpr std::string_view kLeaf = R"("type": null)", kDict = R"("type": "builtins.dict", "context": ")";
  size_t leaves = 0;
  for (size_t at = spec.find(kLeaf); at != std::string_view::npos; at = spec.find(kLeaf, at + 1)) ++leaves;
  std::vector<std::string> names;
  const size_t dict = spec.find(kDict);
  if (dict != std::string_view::npos) {
    const size_t begin = dict + kDict.size();
    const std::string_view context = spec.substr(begin, spec.find(']', begin) - begin);
    // [\"input_ids\", \"attention_mask\"]
    for (size_t at = context.find('"'); at != std::string_view::npos;) {
      const size_t end = context.find_first_of("\\\"", at + 1);
      if (end == std::string_view::npos) break;
      names.emplace_back(context.substr(at + 1, end - at - 1));
      at = context.find('"', end);
      if (at != std::string_view::npos) at = context.find('"', at + 1);
    }
  }
  const size_t by_place = leaves - std::min(leaves, names.size());
  const size_t known = std::min(by_place, std::size(kInputs));
  names.insert(names.begin(), kInputs, kInputs + known);
  for (size_t i = known; i < by_place; ++i)
    names.insert(names.begin() + static_cast<std::ptrdiff_t>(i), "a further one");
  return names;
}

// The function that says how many threads compiled loops have, where their OpenMP library is another than libtorch's:
// its own package index gives that a name of its own, and compilers link the system's. Null: there is none.
using SetThreads = void (*)(int);
SetThreads set_threads_of_loops() {
  void* const library = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<SetThreads>(dlsym(library, "omp_set_num_threads"));
}

class Package : public Program {
 public:
  Package(const std::string& path, const std::string& device_name, uint32_t runners)
      : device_(device_name),
        loader_(path, "model", /*run_single_threaded=*/false, runners,
                device_.is_processor() ? -1 : device_.place().index()) {
    set_threads_ = set_threads_of_loops();
    names_ = input_names(loader_.get_call_spec().at(0));
    const auto is_known = [](const std::string& name) {
      return std::find(std::begin(kInputs), std::end(kInputs), name) != std::end(kInputs);
    };
    const auto has = [this](const char* name) { return std::count(names_.begin(), names_.end(), name) == 1; };
    if (!std::all_of(names_.begin(), names_.end(), is_known) || !has("input_ids") || !has("attention_mask")) {
      std::string given;
      for (const std::string& name : names_) given += (given.empty() ? "" : ", ") + name;
      throw ModelError("it takes (" + given + "); expected (input_ids, attention_mask), and token_type_ids if needed");
    }
  }

  at::Tensor run(const PaddedTexts& texts) const override {
    const auto on_stream = device_.guard();
    std::vector<at::Tensor> inputs;
    for (const std::string& name : names_) {
      inputs.push_back(device_.bring(name == "input_ids"        ? texts.ids
                                     : name == "attention_mask" ? texts.mask
                                                                : texts.types));
    }
    if (set_threads_ != nullptr) set_threads_(at::get_num_threads());
    const std::vector<at::Tensor> outputs = loader_.run(inputs);
    if (outputs.empty()) throw std::runtime_error("the model gave nothing");
    return device_.fetch(outputs.front());
  }

 private:
  const Device device_;
  mutable AOTIModelPackageLoader loader_;  // its runners are handed out under a lock of its own
  std::vector<std::string> names_;
  SetThreads set_threads_ = nullptr;
};

}  // namespace

std::unique_ptr<Program> open_package(const std::string& path, const std::string& device, uint32_t runners) {
  try {
    return std::make_unique<Package>(path, device, runners);
  } catch (const ModelError&) {
    throw;
  } catch (const std::exception& error) {
    throw ModelError("it cannot be loaded: " + reason(error));
  }
}

}  // namespace predictor
