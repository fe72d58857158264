// Devices, for Python and for kinds that other modules bring.
#include "python/binding.h"

#include "call/dispatch.h"
#include "engine/device.h"

namespace tigon {
namespace {

using namespace nb::literals;

// Another module's kind: a capsule with a DeviceKind, made by `new`, for the same headers.
constexpr const char* kCapsule = "tigon.DeviceKind";

void register_kind(nb::object capsule) {
  translated([&] {
    void* kind = PyCapsule_GetPointer(capsule.ptr(), kCapsule);
    if (!kind) throw nb::python_error();
    add_device_kind(std::unique_ptr<DeviceKind>(static_cast<DeviceKind*>(kind)));
  });
}

// A result that nobody has seen yet is put on another device, and what is recorded of it says so.
nb::object move(nb::object result, uint8_t device) {
  return translated([&] {
    Array* array = expect_array(result, "move");
    ArrayRef moved = moved_to(array, device);
    if (array->node) {
      moved->node = array->node;
      moved->output = array->output;
      moved->node->outputs()[moved->output] = moved->type;
    }
    return wrap(std::move(moved));
  });
}

}  // namespace

void bind_devices(nb::module_& m) {
  m.def(
      "device",
      [](const std::string& name, int64_t number) {
        return translated([&] { return device_of(name, number).index; });
      },
      "name"_a, "number"_a);
  m.def("device_kinds", [] {
    std::vector<std::pair<std::string, int>> kinds;
    for (const DeviceKind* kind : device_kinds()) kinds.emplace_back(kind->name, kind->count());
    return kinds;
  });
  m.def("device_kind", [](uint8_t index) { return device_at(index).kind->name; }, "index"_a);
  m.def("is_host", [](uint8_t index) { return device_at(index).is_host(); }, "index"_a);
  m.def("register_device_kind", register_kind, "capsule"_a);
  m.attr("FIRST_CPU") = static_cast<int>(kFirstCpu);
  m.def("current_device", current_device);
  m.def("set_current_device", set_current_device, "index"_a);
  m.def("move", move, "result"_a, "device"_a);
  m.def(
      "placed",
      [](nb::object array, uint8_t device) {
        return translated([&] {
          Array* given = expect_array(array, "placed");
          check_not_donated(given);
          return given->type->device == device ? array : wrap(placed_on(given, device));
        });
      },
      "array"_a, "device"_a);
}

}  // namespace tigon
