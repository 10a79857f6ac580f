// Where libtorch computes, as one thread uses it: "cpu", "cuda", "cuda:1".
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include <optional>
#include <string>

namespace predictor {

class Device {
 public:
  // Throws ModelError when this machine, or this build of libtorch, has no such device.
  explicit Device(const std::string& name);

  // The same device for another thread: on a graphics card with a stream of its own, for work that does not wait for
  // the others'.
  Device another() const { return Device(device_); }

  bool is_processor() const { return device_.is_cpu(); }
  const c10::Device& place() const { return device_; }

  // While it lives, the calling thread's work goes to the stream.
  c10::OptionalStreamGuard guard() const { return c10::OptionalStreamGuard(stream_); }

  // Memory of the processor, not filled, that is copied to or from the device without a stop on the way: pinned.
  at::Tensor staging(at::IntArrayRef shape, at::ScalarType type) const;

  // `staged` there, or on its way: what the stream does next finds it.
  at::Tensor bring(const at::Tensor& staged) const;

  // `tensor` on the processor, when the stream has come to it.
  at::Tensor fetch(const at::Tensor& tensor) const;

  // Until all that the stream was given is done: another thread's may use it then.
  void wait() const;

 private:
  explicit Device(const c10::Device& device);

  c10::Device device_;
  std::optional<c10::Stream> stream_;
};

}  // namespace predictor
