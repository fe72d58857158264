#include "engine/device.h"

#include <condition_variable>
#include <mutex>

#include "memory/storage.h"
#include "program/program.h"

namespace tigon {
namespace {

constexpr int kMostCpus = 1 << 15;
const char* const kHostNames[] = {"cpu", "cpu_pinned", "cpu_shared"};

class Cpu final : public DeviceKind {
 public:
  Cpu() : DeviceKind("cpu", "cpu") {}
  int count() const override { return kMostCpus; }
  bool is_host() const override { return true; }
  void* allocate(int, size_t bytes) noexcept override { return memory::allocate(bytes); }
  void release(int, void* block, size_t bytes) noexcept override { memory::release(block, bytes); }
  void copy(int, void* to, const void* from, size_t bytes, Way, Completion& done) override {
    parallel_copy(to, from, bytes);
    done.ended(nullptr);
  }
  void run(int, const std::vector<Wave>&, void* const*, Completion&) override {
    throw InternalError("cpu: programs run on the host's threads");
  }
};

struct Table {
  std::mutex mutex;
  std::vector<std::unique_ptr<DeviceKind>> kinds;
  size_t used = 0;

  Table() {
    kinds.push_back(std::make_unique<Cpu>());
    add("cpu", kinds[0].get(), 0);
  }

  Device& add(const std::string& name, DeviceKind* kind, int number) {
    auto* device = new Device{static_cast<uint8_t>(used), name, kind, number, kind->is_host()};
    devices[used++] = device;
    return *device;
  }

  DeviceKind* kind_named(const std::string& name) {
    for (const char* host : kHostNames) {
      if (name == host) return kinds[0].get();
    }
    for (auto& kind : kinds) {
      if (kind->name == name) return kind.get();
    }
    return nullptr;
  }
};

Table& table() {
  static Table* instance = new Table;
  return *instance;
}

std::atomic<size_t> inherited{0};  // so many devices were there at the fork

thread_local uint8_t own_device = kFirstCpu;

[[maybe_unused]] const Table& filled = table();  // before anything asks for a device

}  // namespace

Device* devices[kMostDevices] = {};

std::atomic<int> on_devices{0};

void note_fork() { inherited.store(table().used); }

void check_usable(const Device& device) {
  if (device.is_host() || device.index >= inherited.load(std::memory_order_relaxed)) return;
  throw UserError(device.text() +
                  ": the process was forked after this device was used, and its queues stayed with "
                  "the parent; start processes by spawn, or use it in one of them only");
}

void* Device::allocate(size_t bytes) const { return kind->allocate(number, bytes); }
void Device::release(void* block, size_t bytes) const { kind->release(number, block, bytes); }

Device& device_of(const std::string& name, int64_t number) {
  Table& t = table();
  std::lock_guard<std::mutex> guard(t.mutex);
  for (size_t index = 0; index < t.used; ++index) {
    Device& device = *devices[index];
    if (device.number == number && device.name == name) return device;
  }
  DeviceKind* kind = t.kind_named(name);
  std::string shown = name + "(" + std::to_string(number) + ")";
  if (!kind) throw UserError("there is no " + shown + " in this process; use mx.cpu()");
  if (number < 0 || number >= kind->count())
    throw UserError("there is no " + shown + "; numbers of " + name + " go from 0 to " +
                    std::to_string(kind->count() - 1));
  if (t.used == kMostDevices)
    throw UserError("there is no room for " + shown + ": a process names at most " +
                    std::to_string(kMostDevices) + " devices");
  return t.add(name, kind, static_cast<int>(number));
}

void add_device_kind(std::unique_ptr<DeviceKind> kind) {
  Table& t = table();
  std::lock_guard<std::mutex> guard(t.mutex);
  if (t.kind_named(kind->name))
    throw UserError("the device kind " + kind->name + " is there already");
  if (kind->target != t.kinds[0]->target)
    throw UserError("the device kind " + kind->name + " needs code for " + kind->target +
                    ", which no backend compiles; see docs/adr/0018-devices.md");
  t.kinds.push_back(std::move(kind));
}

std::vector<const DeviceKind*> device_kinds() {
  Table& t = table();
  std::lock_guard<std::mutex> guard(t.mutex);
  std::vector<const DeviceKind*> found;
  for (auto& kind : t.kinds) found.push_back(kind.get());
  return found;
}

namespace {

class Waiter final : public Completion {
 public:
  void ended(const KernelFailure* failure) noexcept override {
    std::lock_guard<std::mutex> guard(mutex_);
    failed_ = failure != nullptr;
    done_ = true;
    wake_.notify_one();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return done_; });
    if (failed_) throw InternalError("a copy between host and device failed");
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  bool failed_ = false;
};

}  // namespace

void copy_now(Device& device, void* to, const void* from, size_t bytes, DeviceKind::Way way) {
  if (!bytes) return;
  check_usable(device);
  Waiter waiter;
  device.kind->copy(device.number, to, from, bytes, way, waiter);
  waiter.wait();
}

uint8_t current_device() { return own_device; }
uint8_t set_current_device(uint8_t index) { return std::exchange(own_device, index); }

}  // namespace tigon
