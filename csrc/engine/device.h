// Devices: where arrays live and kernels run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/common.h"

namespace tigon {

struct Wave;
struct KernelFailure;

// Told once, by any thread, when something that a device was given has ended.
class Completion {
 public:
  virtual void ended(const KernelFailure* failure) noexcept = 0;

 protected:
  ~Completion() = default;
};

// What a backend brings: devices of one kind, told apart by number. Code is compiled for `target`
// and serves all numbers.
class DeviceKind {
 public:
  DeviceKind(std::string name_, std::string target_)
      : name(std::move(name_)), target(std::move(target_)) {}
  virtual ~DeviceKind() = default;
  DeviceKind(const DeviceKind&) = delete;
  DeviceKind& operator=(const DeviceKind&) = delete;

  const std::string name;
  const std::string target;
  virtual int count() const = 0;  // numbers are below it

  // Whether its memory is the host's: the engine then computes on the host's threads, numbers read
  // each other's arrays, and `copy` and `run` are never asked for.
  virtual bool is_host() const { return false; }

  virtual void* allocate(int number, size_t bytes) noexcept = 0;  // null when there is none left
  virtual void release(int number, void* block, size_t bytes) noexcept = 0;

  // What one number is given happens in that order, after the call returned or before. What
  // pointers lead to stays alive until `done` is told. The host's end of a copy is ordinary memory.
  enum class Way : uint8_t { FromHost, ToHost, Within };
  virtual void copy(int number, void* to, const void* from, size_t bytes, Way way,
                    Completion& done) = 0;
  // `buffers`: of each launch in order.
  virtual void run(int number, const std::vector<Wave>& waves, void* const* buffers,
                   Completion& done) = 0;
};

// One of a kind. Types of arrays hold its index.
struct Device {
  uint8_t index;
  std::string name;  // of the context: "cpu_pinned" is a name of the host's memory, too
  DeviceKind* kind;
  int number;
  bool host;  // as its kind says: asked at every call

  bool is_host() const { return host; }
  void* allocate(size_t bytes) const;
  void release(void* block, size_t bytes) const;
  std::string text() const { return name + "(" + std::to_string(number) + ")"; }
};

inline constexpr uint8_t kFirstCpu = 0;

// Devices live for ever: types and storages refer to them by index.
inline constexpr size_t kMostDevices = 255;
extern Device* devices[kMostDevices];
inline Device& device_at(uint8_t index) { return *devices[index]; }
inline bool is_host(uint8_t index) { return index == kFirstCpu || devices[index]->host; }
// Throws UserError for unknown names, numbers that do not exist, and after 255 devices.
Device& device_of(const std::string& name, int64_t number);
void add_device_kind(std::unique_ptr<DeviceKind> kind);  // throws where the name is taken
std::vector<const DeviceKind*> device_kinds();

// Throws where it belongs to the process that this one was forked from.
void check_usable(const Device& device);
void note_fork();  // in the child

// How much that devices were given has not ended.
extern std::atomic<int> on_devices;

// Waits without Python, for copies that callers want at once. Throws what failed.
void copy_now(Device& device, void* to, const void* from, size_t bytes, DeviceKind::Way way);

// The thread's device, for arrays that are made of nothing.
uint8_t current_device();
uint8_t set_current_device(uint8_t index);  // returns what was set before

}  // namespace tigon
