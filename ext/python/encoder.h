// Python's view of the encoder engine, a class of the module ext._torchscript.
#pragma once

#include <pybind11/pybind11.h>

namespace predictor {

void bind_encoder(pybind11::module_& module);

}  // namespace predictor
