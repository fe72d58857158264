// The second device of the tests: the processor's kernels on memory of its own. Each launch and
// copy checks whose memory it was given; work completes later, in order per number.
#include <Python.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "engine/device.h"
#include "program/control.h"
#include "program/program.h"

namespace {

using tigon::Completion;
using tigon::KernelFailure;
using tigon::Launch;
using tigon::Wave;

constexpr int kNumbers = 2;
constexpr auto kLater = std::chrono::microseconds(20);

std::mutex notes_mutex;
std::vector<std::string> violations;  // of whose memory is whose
std::atomic<uint64_t> launches{0};
std::atomic<uint64_t> copies{0};

void violate(const std::string& what) {
  std::lock_guard<std::mutex> guard(notes_mutex);
  violations.push_back(what);
}

class Memory {
 public:
  void* allocate(size_t bytes) {
    void* block = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!block) return nullptr;
    std::memset(block, 0xA5, bytes);  // what was never written shows
    std::lock_guard<std::mutex> guard(mutex_);
    blocks_[static_cast<char*>(block)] = bytes;
    return block;
  }

  void release(void* block) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      if (!blocks_.erase(static_cast<char*>(block))) violate("release of what is not there");
    }
    std::free(block);
  }

  bool holds(const void* place, size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    const char* begin = static_cast<const char*>(place);
    auto after = blocks_.upper_bound(const_cast<char*>(begin));
    if (after == blocks_.begin()) return false;
    auto [block, size] = *std::prev(after);
    return begin + bytes <= block + size;
  }

 private:
  std::mutex mutex_;
  std::map<char*, size_t> blocks_;
};

class Queue {
 public:
  void push(std::function<void()> work) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!started_) {
      std::thread([this] { serve(); }).detach();
      started_ = true;
    }
    work_.push_back(std::move(work));
    wake_.notify_one();
  }

 private:
  [[noreturn]] void serve() {
    for (;;) {
      std::function<void()> next;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return !work_.empty(); });
        next = std::move(work_.front());
        work_.pop_front();
      }
      std::this_thread::sleep_for(kLater);
      next();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> work_;
  bool started_ = false;
};

class Mirror final : public tigon::DeviceKind {
 public:
  Mirror() : DeviceKind("mirror", "cpu") {}

  int count() const override { return kNumbers; }

  void* allocate(int number, size_t bytes) noexcept override {
    return memory_[number].allocate(bytes);
  }
  void release(int number, void* block, size_t) noexcept override {
    memory_[number].release(block);
  }

  void copy(int number, void* to, const void* from, size_t bytes, Way way,
            Completion& done) override {
    queue_[number].push([=, this, &done] {
      ++copies;
      bool reads = way == Way::FromHost || memory_[number].holds(from, bytes);
      bool writes = way == Way::ToHost || memory_[number].holds(to, bytes);
      bool foreign = (way == Way::FromHost && is_ours(from)) || (way == Way::ToHost && is_ours(to));
      if (reads && writes && !foreign) {
        std::memmove(to, from, bytes);
      } else {
        violate("a copy touches memory that is not this device's");
      }
      done.ended(nullptr);
    });
  }

  void run(int number, const std::vector<Wave>& waves, void* const* buffers,
           Completion& done) override {
    queue_[number].push([=, this, &waves, &done] {
      KernelFailure failure;
      bool well = run_waves(number, waves, buffers, failure);
      done.ended(well ? nullptr : &failure);
    });
  }

 private:
  bool is_ours(const void* place) {
    for (Memory& memory : memory_) {
      if (memory.holds(place, 1)) return true;
    }
    return false;
  }

  // The programs within a loop or a branch, on the memory of one number.
  class Within final : public tigon::Executor {
   public:
    Within(Mirror& mirror, int number) : mirror_(mirror), number_(number) {}

    void* allocate(size_t bytes) override { return mirror_.memory_[number_].allocate(bytes); }
    void release(void* block, size_t) noexcept override { mirror_.memory_[number_].release(block); }
    void copy(void* to, const void* from, size_t bytes) override {
      if (own(to, bytes) && own(from, bytes)) std::memcpy(to, from, bytes);
    }
    void clear(void* to, size_t bytes) override {
      if (own(to, bytes)) std::memset(to, 0, bytes);
    }
    void send(void* to, const void* from, size_t bytes) override {
      if (own(to, bytes)) std::memcpy(to, from, bytes);
    }
    void read(void* to, const void* from, size_t bytes) override {
      if (own(from, bytes)) std::memcpy(to, from, bytes);
    }
    const tigon::DeviceKind* kind() const override { return &mirror_; }
    int number() const override { return number_; }
    bool run(const std::vector<Wave>& waves, void* const* buffers,
             KernelFailure& failure) override {
      return mirror_.run_waves(number_, waves, buffers, failure);
    }

   private:
    bool own(const void* place, size_t bytes) {
      if (!bytes || mirror_.memory_[number_].holds(place, bytes)) return bytes;
      violate("a loop touches memory that is not this device's");
      return false;
    }
    Mirror& mirror_;
    int number_;
  };

  bool run_waves(int number, const std::vector<Wave>& waves, void* const* buffers,
                 KernelFailure& failure) {
    for (const Wave& wave : waves) {
      for (const Launch& launch : wave.launches) {
        if (!run_launch(number, launch, buffers, failure)) return false;
        buffers += launch.buffers.size();
      }
    }
    return true;
  }

  bool run_launch(int number, const Launch& launch, void* const* buffers, KernelFailure& failure) {
    ++launches;
    if (launch.control) {
      Within within(*this, number);
      return launch.control->run(buffers, within, launch.operator_name, failure);
    }
    for (size_t index = 0; index < launch.buffers.size(); ++index) {
      // The first places of an empty array, and of what has no memory, are none.
      if (buffers[index] && !memory_[number].holds(buffers[index], 0)) {
        violate(launch.operator_name + ": buffer " + std::to_string(index) +
                " is not this device's");
        return true;
      }
    }
    size_t bytes = std::max(launch.scratch_bytes, sizeof(failure.details));
    void* scratch = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    int32_t status =
        launch.points ? launch.kernel(buffers, launch.slots.data(), scratch, 0, launch.points) : 0;
    if (status) {
      failure.launch = &launch;
      failure.status = status;
      std::memcpy(failure.details, scratch, sizeof(failure.details));
    }
    std::free(scratch);
    return status == 0;
  }

  Memory memory_[kNumbers];
  Queue queue_[kNumbers];
};

PyObject* kind(PyObject*, PyObject*) {
  return PyCapsule_New(static_cast<tigon::DeviceKind*>(new Mirror), "tigon.DeviceKind", nullptr);
}

PyObject* counts(PyObject*, PyObject*) {
  return Py_BuildValue("(KK)", static_cast<unsigned long long>(launches.load()),
                       static_cast<unsigned long long>(copies.load()));
}

PyObject* take_violations(PyObject*, PyObject*) {
  std::lock_guard<std::mutex> guard(notes_mutex);
  PyObject* list = PyList_New(0);
  for (const std::string& what : violations) {
    PyObject* text = PyUnicode_FromString(what.c_str());
    PyList_Append(list, text);
    Py_DECREF(text);
  }
  violations.clear();
  return list;
}

PyMethodDef functions[] = {
    {"kind", kind, METH_NOARGS, "A capsule of the kind, to be registered once."},
    {"counts", counts, METH_NOARGS, "(launches, copies) so far."},
    {"take_violations", take_violations, METH_NOARGS, "What touched memory of others, and forget."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT,
                      "_mirror",
                      "A device for tests.",
                      -1,
                      functions,
                      nullptr,
                      nullptr,
                      nullptr,
                      nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__mirror() { return PyModule_Create(&module); }
