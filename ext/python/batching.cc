// Python's view of the queue and the policy: the module ext._batching. For models whose runtime is driven from Python:
// their worker threads take batches here. Needs no libtorch.
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <map>
#include <memory>

#include "python/queue.h"

namespace predictor {
namespace {

struct PythonRequest : Request {
  py::object payload;
  py::object result;
};

// A clock for tests: it stands still until it is told to go on.
struct ManualClock {
  std::shared_ptr<std::atomic<Nanoseconds>> now = std::make_shared<std::atomic<Nanoseconds>>(0);
};

// A Queue whose payloads and results are Python objects. Everything that could drop one holds the GIL.
class PythonQueue {
 public:
  PythonQueue(const ManualClock* clock, const py::kwargs& kwargs) {
    py::dict settings(kwargs);
    const QueueLimits limits = take_limits(settings);
    const PolicyConfig policy = take_policy(settings);
    const auto capacity = take_setting(settings, "capacity", 1u);
    keeps_work_ = take_setting(settings, "keeps_work", false);
    expect_no_more(settings);
    Queue::Clock source = Queue::monotonic_now;
    if (clock != nullptr) source = [now = clock->now] { return now->load(); };
    queue_ = std::make_unique<Queue>(limits, policy, capacity, source);
  }

  ~PythonQueue() { close(); }

  Queue& queue() { return *queue_; }

  int64_t submit(py::object payload, uint32_t tokens, int lane, Nanoseconds deadline, py::object tag, uint64_t flow,
                 uint64_t bytes) {
    auto request = std::make_unique<PythonRequest>();
    request->payload = std::move(payload);
    request->tokens = tokens;
    request->flow = flow;
    request->bytes = bytes;
    request->lane = to_lane(lane);
    request->deadline = deadline;
    void* owned = to_tag(std::move(tag));
    request->tag = owned;
    return submitted(queue_->submit(std::move(request)), owned);
  }

  bool wake() {
    queue_->wake();
    return false;
  }

  py::object take() {
    Batch batch;
    {
      py::gil_scoped_release unlocked;
      batch = queue_->take();
    }
    return lend(std::move(batch));
  }

  py::object try_take() { return lend(queue_->try_take()); }

  // `results`: one for each payload, in their order; an exception is that payload's error.
  void finish(uint64_t batch_id, const py::sequence& given) {
    const py::tuple results(given);  // settling calls Python, which could change a list
    const auto found = lent_.find(batch_id);
    if (found == lent_.end()) throw py::key_error("no batch " + std::to_string(batch_id) + " is out");
    if (results.size() != found->second.size()) {
      throw py::value_error("the batch has " + std::to_string(found->second.size()) + " requests, but " +
                            std::to_string(results.size()) + " results came");
    }
    Batch batch = std::move(found->second);
    lent_.erase(found);
    for (size_t i = 0; i < batch.size(); ++i) settle(static_cast<PythonRequest&>(*batch[i]), results[i]);
    queue_->finish(std::move(batch));
  }

  py::list results() {
    const auto value = [](Request& request) { return std::move(static_cast<PythonRequest&>(request).result); };
    return outcomes(*queue_, value, times_);
  }

  py::list times() const { return times_list(times_); }

  py::list close() {
    queue_->close();
    return results();
  }

 private:
  // (batch id, payloads), or None for no batch.
  py::object lend(Batch batch) {
    if (batch.empty()) return py::none();
    const auto& [id, lent] = *lent_.emplace(++last_batch_, std::move(batch)).first;
    py::list payloads;
    for (const RequestPtr& request : lent) {
      request->keeps_work = keeps_work_;
      payloads.append(static_cast<PythonRequest&>(*request).payload);
    }
    return py::make_tuple(id, std::move(payloads));
  }

  // Never throws: the queue still points to the batch's requests.
  static void settle(PythonRequest& request, const py::object& result) {
    if (!PyExceptionInstance_Check(result.ptr())) {
      request.result = result;
      return;
    }
    if (PyErr_GivenExceptionMatches(result.ptr(), PyExc_TimeoutError) != 0) request.keeps_work = false;
    request.status = status_of(result.ptr());
    request.message = message_of(result);
  }

  static Status status_of(PyObject* exception) {
    if (PyErr_GivenExceptionMatches(exception, PyExc_ValueError) != 0) return Status::invalid_argument;
    if (PyErr_GivenExceptionMatches(exception, PyExc_TimeoutError) != 0) return Status::deadline_exceeded;
    if (PyErr_GivenExceptionMatches(exception, PyExc_ConnectionError) != 0) return Status::unavailable;
    return Status::internal;
  }

  // What str() makes of an exception; the name of its type where that is nothing, or fails itself.
  static std::string message_of(const py::object& exception) {
    try {
      const std::string message = py::str(exception).attr("encode")("utf-8", "backslashreplace").cast<std::string>();
      if (!message.empty()) return message;
    } catch (const py::error_already_set&) {
    }
    return Py_TYPE(exception.ptr())->tp_name;
  }

  Times times_;
  bool keeps_work_;  // requests that run end by themselves at their deadlines, with what there is or a TimeoutError
  std::unique_ptr<Queue> queue_;
  std::map<uint64_t, Batch> lent_;  // guarded by the GIL
  uint64_t last_batch_ = 0;
};

LaneView to_view(const std::vector<Nanoseconds>& enqueued) {
  return {enqueued.size(), enqueued.empty() ? kNever : enqueued.front()};
}

void bind_policy(py::module_& module) {
  py::class_<BatchPolicy>(module, "BatchPolicy")
      .def(py::init([](const py::kwargs& kwargs) {
        py::dict settings(kwargs);
        const PolicyConfig config = take_policy(settings);
        expect_no_more(settings);
        return BatchPolicy(config);
      }))
      .def(
          "fill",
          [](const BatchPolicy& policy, const std::vector<uint32_t>& tokens, int lane) {
            std::vector<Waiting> window;
            for (uint32_t count : tokens) window.push_back({count, 0});
            return policy.fill(window, to_lane(lane));
          },
          py::arg("tokens"), py::arg("lane") = 0,
          "Indices of the requests, given by their token counts oldest first, that form a batch.")
      .def(
          "ready_at",
          [](const BatchPolicy& policy, const std::vector<Nanoseconds>& interactive,
             const std::vector<Nanoseconds>& bulk) -> py::object {
            const Nanoseconds at = policy.ready_at(to_view(interactive), to_view(bulk));
            return at == kNever ? py::object(py::none()) : py::object(py::int_(at));
          },
          py::arg("interactive"), py::arg("bulk"), "When a batch may be formed, from the times of enqueueing; or None.")
      .def(
          "choose_lane",
          [](BatchPolicy& policy, bool interactive, bool bulk) {
            return static_cast<int>(policy.choose_lane(interactive, bulk));
          },
          py::arg("interactive_waiting"), py::arg("bulk_waiting"))
      .def(
          "charge", [](BatchPolicy& policy, int lane, uint64_t tokens) { policy.charge(to_lane(lane), tokens); },
          py::arg("lane"), py::arg("padded_tokens"));
}

void bind_pacer(py::module_& module) {
  py::class_<BulkPacer>(module, "BulkPacer")
      .def(py::init<uint32_t, double>(), py::arg("capacity"), py::arg("share"))
      .def("interactive_submitted", &BulkPacer::interactive_submitted, py::arg("now_ns"),
           "An interactive request has been submitted.")
      .def("interactive_finished", &BulkPacer::interactive_finished, py::arg("now_ns"), py::arg("count") = 1,
           "Interactive requests have ended.")
      .def("bulk_started", &BulkPacer::bulk_started, py::arg("now_ns"), "A bulk batch begins.")
      .def("bulk_finished", &BulkPacer::bulk_finished, py::arg("now_ns"), "A bulk batch has ended.")
      .def("bulk_ready_at", &BulkPacer::bulk_ready_at, py::arg("now_ns"),
           "When a bulk batch may begin: now_ns, or a time to ask again.");
}

// What all engines' methods take and give as plain integers.
void bind_codes(py::module_& module) {
  py::native_enum<Lane>(module, "Lane", "enum.IntEnum", "Where a request waits.")
      .value("INTERACTIVE", Lane::interactive)
      .value("BULK", Lane::bulk)
      .finalize();
  py::native_enum<Admission>(module, "Admission", "enum.IntEnum", "What becomes of a request that is submitted.")
      .value("ACCEPTED", Admission::accepted)
      .value("QUEUE_FULL", Admission::queue_full)
      .value("TOO_LONG", Admission::too_long)
      .value("DEADLINE_PASSED", Admission::deadline_passed)
      .value("DRAINING", Admission::draining)
      .value("TOO_MANY_BYTES", Admission::too_many_bytes)
      .value("QUEUE_TOKENS_FULL", Admission::queue_tokens_full)
      .value("QUEUE_BYTES_FULL", Admission::queue_bytes_full)
      .value("SHARE_FULL", Admission::share_full)
      .finalize();
  py::native_enum<Status>(module, "Status", "enum.IntEnum", "How a request ended.")
      .value("OK", Status::ok)
      .value("INVALID_ARGUMENT", Status::invalid_argument)
      .value("TOO_LARGE", Status::too_large)
      .value("DEADLINE_EXCEEDED", Status::deadline_exceeded)
      .value("UNAVAILABLE", Status::unavailable)
      .value("INTERNAL", Status::internal)
      .finalize();
}

}  // namespace

PYBIND11_MODULE(_batching, module) {
  module.doc() = "The batching queue for models that Python drives, and its decisions for those who test them.";
  bind_codes(module);
  py::class_<ManualClock>(module, "ManualClock")
      .def(py::init<>())
      .def(
          "advance", [](ManualClock& clock, double ms) { *clock.now += static_cast<Nanoseconds>(ms * 1e6); },
          py::arg("ms"))
      .def_property_readonly("now_ns", [](const ManualClock& clock) { return clock.now->load(); });
  bind_policy(module);
  bind_pacer(module);
  py::class_<PythonQueue> cls(module, "Queue");
  cls.def(py::init<const ManualClock*, const py::kwargs&>(), py::arg("clock") = nullptr)
      .def("submit", &PythonQueue::submit, py::arg("payload"), py::arg("tokens"), py::arg("lane"),
           py::arg("deadline_ns"), py::arg("tag"), py::arg("flow") = 0, py::arg("bytes") = 0,
           "Queue a payload; its id, or minus the Admission that refused it.")
      .def("wake", &PythonQueue::wake, "Wake a worker for what was submitted; False: there are no results by that.")
      .def("take", &PythonQueue::take, "Wait for (batch id, payloads); None when the queue is closed.")
      .def("try_take", &PythonQueue::try_take, "As take, but None at once when no batch can be formed.")
      .def(
          "finish", &PythonQueue::finish, py::arg("batch_id"), py::arg("results"),
          "End a batch: a result for each payload; a ValueError is the input's fault, a ConnectionError says that "
          "nobody is there to answer, another exception is our fault. With the wrong number of results a ValueError is "
          "raised, and the batch is still out.")
      .def("results", &PythonQueue::results, "Outcomes since the last call: (tag, status, value or message).")
      .def("times", &PythonQueue::times, "Of those: nanoseconds that each waited, and was out.")
      .def("close", &PythonQueue::close, "Fail what waits, end take(); the outcomes not yet fetched.");
  bind_queue_methods(cls, [](PythonQueue& self) -> Queue& { return self.queue(); });
  module.def("monotonic_ns", &Queue::monotonic_now, "The queue's clock; the same as time.monotonic_ns().");
}

}  // namespace predictor
