// Ends the process where something has not ended in time: foreign code that does not come back may
// hold the interpreter's lock, so that nothing in Python could.
#pragma once

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace tigon {

class Deadline {
 public:
  // After so long the message is written to stderr, and the process ends with status 1.
  Deadline(double seconds, std::string message)
      : message_(std::move(message)), thread_([this, seconds] { watch(seconds); }) {}
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline() { cancel(); }

  void cancel() {
    {
      std::lock_guard<std::mutex> guard(lock_);
      over_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void watch(double seconds) {
    std::unique_lock<std::mutex> guard(lock_);
    if (changed_.wait_for(guard, std::chrono::duration<double>(seconds), [this] { return over_; }))
      return;
    [[maybe_unused]] ssize_t written = write(2, message_.data(), message_.size());
    _exit(1);
  }

  std::mutex lock_;
  std::condition_variable changed_;
  bool over_ = false;
  std::string message_;
  std::thread thread_;  // the last: it reads the others
};

}  // namespace tigon
