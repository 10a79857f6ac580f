// What the bindings of engines whose workers are threads of C++ share: the engine's life, and its outcomes.
#pragma once

#include <malloc.h>

#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>

#include "python/queue.h"
#include "weights/model_error.h"

namespace predictor {

// glibc gives memory back to the kernel, and asks for it again, with every large batch; that costs a sixth of the
// documents a second at batch 64, and a fifth of single texts' in int8. Every engine's module keeps it instead.
inline void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the highest that all versions of glibc take
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

// An engine in Python's hands. `ToValue` makes a Python object of a request's result.
template <typename EngineType, typename ToValue>
class PythonEngine {
 public:
  explicit PythonEngine(std::shared_ptr<EngineType> engine) : engine_(std::move(engine)) {}
  ~PythonEngine() { close(); }

  EngineType& engine() const { return *shared_engine(); }

  const std::shared_ptr<EngineType>& shared_engine() const {
    if (!engine_) throw std::runtime_error("the engine is closed");
    return engine_;
  }

  bool wake() {
    engine();
    const std::shared_ptr<EngineType> open = engine_;  // another thread may close meanwhile
    py::gil_scoped_release unlocked;
    return open->wake();
  }

  py::list results() {
    return outcomes(engine().queue(), [this](Request& request) { return to_value_(request); }, times_);
  }

  py::list times() const { return times_list(times_); }

  // The outcomes that nobody fetched; after this there is no engine.
  py::list close() {
    if (!engine_) return py::list();
    engine_->queue().close();
    py::list rest = results();
    std::shared_ptr<EngineType> ending = std::move(engine_);
    py::gil_scoped_release unlocked;  // the workers finish their batches
    ending.reset();
    return rest;
  }

 private:
  std::shared_ptr<EngineType> engine_;
  ToValue to_value_;
  Times times_;
};

// The methods that every such engine has; `Class` is of a PythonEngine.
template <typename Class>
void bind_engine_methods(Class& cls) {
  using Engine = typename Class::type;
  cls.def("wake", &Engine::wake,
          "Run a request that waits alone and is quick, or wake a worker for what was submitted; whether there are "
          "results.")
      .def("results", &Engine::results, "Outcomes since the last call: (tag, status, value or message).")
      .def("times", &Engine::times, "Of those: nanoseconds that each waited, and ran.")
      .def("close", &Engine::close, "Fail what waits, end the workers; the outcomes not yet fetched.");
  bind_queue_methods(cls, [](Engine& self) -> Queue& { return self.engine().queue(); });
}

// As py::register_exception does it, for messages that quote any bytes of a damaged file.
inline void register_model_error(py::module_& module) {
  static const py::handle type = py::exception<ModelError>(module, "ModelError", PyExc_ValueError).release();
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(std::move(thrown));
    } catch (const ModelError& error) {
      PyErr_SetObject(type.ptr(), to_text(error.what()).ptr());
    }
  });
}

}  // namespace predictor
