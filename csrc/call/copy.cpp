// Copies and constants, in the engine's order.
#include "call/dispatch.h"
#include "call/tasks.h"
#include "engine/engine.h"

namespace tigon {
namespace {

class CopyTask final : public Task, private Completion {
 public:
  CopyTask(Array* from, Array* to)
      : source_(from->storage.get()), target_(to->storage.get()), from_(from->offset),
        to_(to->offset), bytes_(from->type->nbytes) {
    reads.push_back(from->storage);
    writes.push_back({to->storage, to->whole_storage(), false, false, {}});
  }

 protected:
  bool execute() override {
    Device& source = device_at(source_->device());
    Device& target = device_at(target_->device());
    const char* from = source_->data() + from_;
    char* to = target_->data() + to_;
    if (source.is_host() && target.is_host()) {
      move_bytes(from, to, bytes_);
      return true;
    }
    if (!bytes_) return true;
    if (!source.is_host() && !target.is_host() && source.index != target.index) {
      std::vector<char> between(bytes_);
      copy_now(source, between.data(), from, bytes_, DeviceKind::Way::ToHost);
      copy_now(target, to, between.data(), bytes_, DeviceKind::Way::FromHost);
      return true;
    }
    auto way = source.is_host()   ? DeviceKind::Way::FromHost
               : target.is_host() ? DeviceKind::Way::ToHost
                                  : DeviceKind::Way::Within;
    Device& device = source.is_host() ? target : source;
    check_usable(device);
    ++on_devices;
    device.kind->copy(device.number, to, from, bytes_, way, *this);
    return false;
  }

 private:
  void ended(const KernelFailure* failure) noexcept override {
    finish(failure_of(failure));
    --on_devices;
  }

  Storage* source_;
  Storage* target_;
  int64_t from_;
  int64_t to_;
  size_t bytes_;
};

}  // namespace

void copy_array(Array* from, Array* to) {
  if (from->storage.get() == to->storage.get() && from->offset == to->offset) return;
  constexpr size_t kInline = 65536;
  note_write(*to->storage);
  bool host = Task::current_host();
  if (host) {
    wait_to_read(from);
    wait_to_write(to);
  }
  bool ready = host || (from->storage->ready_to_read() && to->storage->ready_to_write());
  if (!is_on_host(from) || !is_on_host(to)) {
    push(Ref<Task>(new CopyTask(from, to)));
    if (Engine::instance().naive) wait_to_read(to);
    return;
  }
  if (ready && (host || from->type->nbytes < kInline || Engine::instance().naive)) {
    from->storage->materialize();
    to->storage->materialize();
    move_bytes(from->data(), to->data(), from->type->nbytes);
    return;
  }
  push(Ref<Task>(new CopyTask(from, to)));
}

void fill_array(Array* array, double value) {
  materialize_now(*array->storage);
  Immediate element = convert({Scalar::Float, value, 0}, array->type->dtype);
  size_t width = array->type->itemsize();
  bool here = is_on_host(array);
  std::vector<char> sent(here ? 0 : array->type->nbytes);
  char* to = here ? array->data() : sent.data();
  if (value == 0) {
    if (array->type->nbytes) std::memset(to, 0, array->type->nbytes);
  } else {
    for (int64_t index = 0; index < array->type->size; ++index, to += width)
      std::memcpy(to, element.bytes, width);
  }
  if (!here) write_bytes(array, sent.data());
}

ArrayRef placed_on(Array* array, uint8_t device) {
  TypeRef type = array->type->on(device);
  if (is_on_host(array) && device_at(device).is_host())
    return new_array(std::move(type), array->storage, array->offset);
  ArrayRef copy = new_array(std::move(type));
  copy_array(array, copy.get());
  return copy;
}

ArrayRef moved_to(Array* array, uint8_t device) {
  ArrayRef copy = new_array(array->type->on(device));
  copy_array(array, copy.get());
  return copy;
}

}  // namespace tigon
