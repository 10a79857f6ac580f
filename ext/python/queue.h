// What the bindings of every engine share: tags that are Python objects, settings as keyword arguments, counters.
#pragma once

#include <pybind11/pybind11.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "queue/queue.h"

namespace predictor {

namespace py = pybind11;

// A request's tag: a reference to a Python object, owned by whoever holds the tag.
inline void* to_tag(py::object object) {
  return object.release().ptr();
}
inline py::object from_tag(void* tag) {
  return py::reinterpret_steal<py::object>(static_cast<PyObject*>(tag));
}

// Text that a model made, which may be cut inside a character.
inline py::str to_text(const std::string& bytes) {
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

inline Lane to_lane(int lane) {
  if (lane != 0 && lane != 1) throw py::value_error("lane is 0 (interactive) or 1 (bulk)");
  return static_cast<Lane>(lane);
}

// The id of an accepted request, or minus the Admission that refused it. The reference in `tag` goes back then.
inline int64_t submitted(const Submission& submission, void* tag) {
  if (submission.admission == Admission::accepted) return static_cast<int64_t>(submission.id);
  from_tag(tag);
  return -static_cast<int64_t>(submission.admission);
}

// Takes the keyword argument out of `settings`, or gives the default.
template <typename T>
T take_setting(py::dict& settings, const char* name, T value) {
  if (!settings.contains(name)) return value;
  try {
    return settings.attr("pop")(name).template cast<T>();
  } catch (const py::cast_error&) {
    throw py::value_error(std::string(name) + " is out of range or of the wrong type");
  }
}

// Out of the range of Nanoseconds or not a number: a time that is out of every range.
inline Nanoseconds take_milliseconds(py::dict& settings, const char* name, Nanoseconds value) {
  const double nanoseconds = take_setting(settings, name, static_cast<double>(value) / 1e6) * 1e6;
  return std::abs(nanoseconds) < 1e18 ? static_cast<Nanoseconds>(nanoseconds) : -1;
}

inline PolicyConfig take_policy(py::dict& settings) {
  PolicyConfig policy;
  policy.batch_items = take_setting(settings, "batch_items", policy.batch_items);
  policy.batch_tokens = take_setting(settings, "batch_tokens", policy.batch_tokens);
  policy.bulk_items = take_setting(settings, "bulk_items", policy.bulk_items);
  policy.look_ahead = take_setting(settings, "look_ahead", policy.look_ahead);
  policy.max_delay = take_milliseconds(settings, "max_delay_ms", policy.max_delay);
  policy.bulk_share = take_setting(settings, "bulk_share", policy.bulk_share);
  policy.max_padding = take_setting(settings, "max_padding", policy.max_padding);
  policy.free_padding = take_setting(settings, "free_padding", policy.free_padding);
  policy.equal_lengths = take_setting(settings, "equal_lengths", policy.equal_lengths);
  policy.pads = take_setting(settings, "pads", policy.pads);
  return policy;
}

inline QueueLimits take_limits(py::dict& settings) {
  QueueLimits limits;
  limits.queue_items = take_setting(settings, "queue_items", limits.queue_items);
  limits.queue_tokens = take_setting(settings, "queue_tokens", limits.queue_tokens);
  limits.queue_bytes = take_setting(settings, "queue_bytes", limits.queue_bytes);
  limits.client_share = take_setting(settings, "client_share", limits.client_share);
  limits.max_tokens = take_setting(settings, "max_tokens", limits.max_tokens);
  limits.hold = take_setting(settings, "hold", limits.hold);
  return limits;
}

// How long requests waited and how long they ran, in nanoseconds; 0 of one that did not.
using Times = std::vector<std::pair<Nanoseconds, Nanoseconds>>;

inline py::list times_list(const Times& times) {
  py::list list(times.size());
  for (size_t i = 0; i < times.size(); ++i) list[i] = py::make_tuple(times[i].first, times[i].second);
  return list;
}

inline void expect_no_more(const py::dict& settings) {
  if (settings.empty()) return;
  throw py::type_error("unknown setting " + py::repr((*settings.begin()).first).cast<std::string>());
}

inline py::dict stats_dict(const QueueStats& stats) {
  using namespace py::literals;
  return py::dict("waiting"_a = stats.waiting, "waiting_tokens"_a = stats.waiting_tokens,
                  "waiting_bytes"_a = stats.waiting_bytes, "running"_a = stats.running, "accepted"_a = stats.accepted,
                  "completed"_a = stats.completed, "failed"_a = stats.failed, "overloaded"_a = stats.overloaded,
                  "expired"_a = stats.expired, "cancelled"_a = stats.cancelled, "batches"_a = stats.batches,
                  "batched_tokens"_a = stats.batched_tokens);
}

// (tag, status, value) of each outcome; value is `to_value(request)` for status 0 and a message otherwise. `times` get
// those of each.
template <typename ToValue>
py::list outcomes(Queue& queue, const ToValue& to_value, Times& times) {
  Batch batch = queue.completions();
  py::list list(batch.size());
  times.clear();
  for (size_t i = 0; i < batch.size(); ++i) {
    Request& request = *batch[i];
    const bool ran = request.finished > 0;
    times.emplace_back(ran ? request.started - request.enqueued : 0, ran ? request.finished - request.started : 0);
    py::object value = request.status == Status::ok ? to_value(request) : py::object(to_text(request.message));
    list[i] = py::make_tuple(from_tag(std::exchange(request.tag, nullptr)), static_cast<int>(request.status),
                             std::move(value));
  }
  return list;
}

// The methods that every engine has. `queue_of(engine)` gives its Queue.
template <typename Class, typename QueueOf>
void bind_queue_methods(Class& cls, QueueOf queue_of) {
  using Engine = typename Class::type;
  cls.def_property_readonly(
         "fd", [queue_of](Engine& engine) { return queue_of(engine).event_fd(); },
         "A file descriptor that becomes readable when there are outcomes.")
      .def(
          "cancel",
          [queue_of](Engine& engine, uint64_t id) {
            void* tag = queue_of(engine).cancel(id);
            if (tag == nullptr) return false;
            from_tag(tag);
            return true;
          },
          py::arg("id"), "Take the request out, waiting or running; False when it was answered already.")
      .def(
          "sweep", [queue_of](Engine& engine) { queue_of(engine).sweep(); }, "Answer requests whose deadline passed.")
      .def(
          "drain", [queue_of](Engine& engine) { queue_of(engine).drain(); }, "Refuse what comes from now on.")
      .def(
          "stats", [queue_of](Engine& engine) { return stats_dict(queue_of(engine).stats()); },
          "Counters since the start, and what waits and runs now.");
}

}  // namespace predictor
