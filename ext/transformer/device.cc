#include "transformer/device.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include "weights/model_error.h"

namespace predictor {

namespace {

// How many devices of the type there are; 0 also when libtorch is built without it.
int count(c10::DeviceType type) {
  const auto& registered = c10::impl::device_guard_impl_registry[static_cast<size_t>(type)];
  // Half a gigabyte that only who asks for a card shall load; where it is not, nothing is registered.
  if (registered.load() == nullptr) dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  const auto* guard = registered.load();
  return guard == nullptr ? 0 : guard->deviceCount();
}

c10::Device parse(const std::string& name) {
  try {
    return c10::Device(name);
  } catch (const std::exception&) {
    throw ModelError("device is '" + name + "'; it must be cpu or, for a graphics card, cuda or cuda:N");
  }
}

c10::Device found(const std::string& name) {
  const c10::Device device = parse(name);
  if (device.type() != c10::DeviceType::CPU && device.type() != c10::DeviceType::CUDA) {
    throw ModelError("device is '" + name + "'; it must be cpu or, for a graphics card, cuda or cuda:N");
  }
  const int found = count(device.type());
  const int index = device.has_index() ? device.index() : 0;
  if (index < found) return {device.type(), static_cast<c10::DeviceIndex>(device.is_cpu() ? -1 : index)};
  const std::string kind = c10::DeviceTypeName(device.type(), true);
  throw ModelError("there is no device " + name + " (setting device): " +
                   (found == 0 ? "this machine, or this build of libtorch, has no " + kind
                               : "this machine has " + std::to_string(found) + ", from " + kind + ":0"));
}

}  // namespace

Device::Device(const std::string& name) : Device(found(name)) {}

Device::Device(const c10::Device& device) : device_(device) {
  if (!is_processor()) stream_ = c10::impl::VirtualGuardImpl(device.type()).getNewStream(device);
}

at::Tensor Device::staging(at::IntArrayRef shape, at::ScalarType type) const {
  return at::empty(shape, at::TensorOptions(type).pinned_memory(!is_processor()));
}

at::Tensor Device::bring(const at::Tensor& staged) const {
  return is_processor() ? staged : staged.to(device_, staged.scalar_type(), /*non_blocking=*/true);
}

at::Tensor Device::fetch(const at::Tensor& tensor) const {
  if (is_processor()) return tensor.contiguous();
  at::Tensor staged = staging(tensor.sizes(), tensor.scalar_type());
  staged.copy_(tensor, /*non_blocking=*/true);
  wait();
  return staged;
}

void Device::wait() const {
  if (stream_) stream_->synchronize();
}

}  // namespace predictor
