#include "tflite/library.h"

#include <dlfcn.h>

#include <new>
#include <stdexcept>

namespace predictor::tflite {

namespace {

Library opened;
bool is_open = false;

template <typename Function>
void look_up(void* handle, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, symbol));
  if (!function) throw std::runtime_error("tflite-runtime's library does not export " + std::string(symbol));
}

}  // namespace

void ModelDeleter::operator()(Model* model) const {
  opened.destroy_model(model);
  ::operator delete(model);
}

void open_library(const std::string& path, const std::string& version) {
  if (version != kSupportedVersion) {
    throw std::runtime_error("tflite-runtime " + version + " is installed, but these operators are compiled for " +
                             kSupportedVersion +
                             ", whose binary interface they rely on: pip install tflite-runtime==" + kSupportedVersion);
  }
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (!handle) throw std::runtime_error("tflite-runtime's library is not loaded: " + path);
  look_up(handle, "TfLiteIntArrayCreate", opened.int_array_create);
  look_up(handle, "TfLiteTensorRealloc", opened.tensor_realloc);
  look_up(handle, "_ZN6tflite17MutableOpResolver9AddCustomEPKcPK18TfLiteRegistrationi", opened.add_custom);
  look_up(handle, "_ZN6tflite17MutableOpResolver10AddBuiltinENS_15BuiltinOperatorEPK18TfLiteRegistrationi",
          opened.add_builtin);
  look_up(handle, "_ZNK6tflite17MutableOpResolver6FindOpENS_15BuiltinOperatorEi", opened.find_builtin);
  look_up(handle, "_ZNK6tflite17MutableOpResolver6FindOpEPKci", opened.find_custom);
  look_up(handle, "_ZN6tflite4impl11Interpreter6InvokeEv", opened.invoke);
  look_up(handle,
          "_ZN6tflite4impl15FlatBufferModel24VerifyAndBuildFromBufferEPKcmPNS_14TfLiteVerifierEPNS_13ErrorReporterE",
          opened.verify_and_build);
  look_up(handle, "_ZN6tflite4impl15FlatBufferModelD1Ev", opened.destroy_model);
  is_open = true;
}

const Library& library() {
  if (!is_open) throw std::runtime_error("tflite-runtime's library has not been opened");
  return opened;
}

}  // namespace predictor::tflite
