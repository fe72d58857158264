#include "program/object_code.h"

namespace tigon {

ObjectCompiler::ObjectCompiler(const CodeGenerator& generator, std::vector<void*> machines)
    : generator_(generator), machines_(std::move(machines)) {
  if (machines_.empty()) throw InternalError("ObjectCompiler: no machine");
}

ObjectCompiler::~ObjectCompiler() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    next_ = texts_.size();
  }
  close();
}

void ObjectCompiler::add(std::string text) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) throw InternalError("ObjectCompiler: add after finish");
  texts_.push_back(std::move(text));
  results_.emplace_back();
  if (idle_ == 0 && threads_.size() + 1 < machines_.size()) {
    threads_.emplace_back(&ObjectCompiler::work, this, machines_[threads_.size() + 1]);
  } else {
    changed_.notify_one();
  }
}

std::vector<ObjectCode> ObjectCompiler::finish() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  work(machines_[0]);
  close();
  return std::move(results_);
}

void ObjectCompiler::close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ObjectCompiler::work(void* machine) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    while (next_ == texts_.size()) {
      if (closed_) return;
      ++idle_;
      changed_.wait(lock);
      --idle_;
    }
    size_t index = next_++;
    std::string text = std::move(texts_[index]);
    lock.unlock();
    ObjectCode result = compile(machine, text);
    lock.lock();
    results_[index] = std::move(result);
  }
}

ObjectCode ObjectCompiler::compile(void* machine, const std::string& text) const {
  const CodeGenerator& g = generator_;
  ObjectCode result;
  const char* error = nullptr;
  void* context = g.create_context();
  void* module = g.parse(context, text.c_str(), &error);
  result.refused = !module;
  if (module && g.verify) {
    result.refused = g.verify(module, &error) != 0;
    if (!result.refused && error) g.dispose_string(std::exchange(error, nullptr));
  }
  if (!result.refused) {
    if (void* buffer = g.emit(machine, module, 1, &error)) {
      result.content.assign(static_cast<const char*>(g.buffer_start(buffer)),
                            g.buffer_size(buffer));
      g.dispose_buffer(buffer);
    } else {
      result.refused = true;
    }
  }
  if (result.refused) result.content = error ? error : "no reason given";
  if (error) g.dispose_string(error);
  if (module) g.dispose_module(module);
  g.dispose_context(context);
  return result;
}

}  // namespace tigon
