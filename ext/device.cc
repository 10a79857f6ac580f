#include "device.h"

#include <c10/core/Device.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "torchscript_model.h"

namespace predictor {

namespace {

// How many devices of the type there are; 0 also when libtorch is built without it.
int count(c10::DeviceType type) {
  const auto* guard = c10::impl::device_guard_impl_registry[static_cast<size_t>(type)].load();
  return guard == nullptr ? 0 : guard->deviceCount();
}

c10::Device parse(const std::string& name) {
  try {
    return c10::Device(name);
  } catch (const std::exception&) {
    throw ModelError("device is '" + name + "'; it must be cpu or, for a graphics card, cuda or cuda:N");
  }
}

}  // namespace

void require_device(const std::string& name) {
  const c10::Device device = parse(name);
  if (device.type() != c10::DeviceType::CPU && device.type() != c10::DeviceType::CUDA) {
    throw ModelError("device is '" + name + "'; it must be cpu or, for a graphics card, cuda or cuda:N");
  }
  const int found = count(device.type());
  const int wanted = device.has_index() ? device.index() : 0;
  if (wanted < found) return;
  const std::string kind = c10::DeviceTypeName(device.type(), true);
  throw ModelError("there is no device " + name + " (setting device): " +
                   (found == 0 ? "this machine, or this build of libtorch, has no " + kind
                               : "this machine has " + std::to_string(found) + ", from " + kind + ":0"));
}

}  // namespace predictor
