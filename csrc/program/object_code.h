// Object code from LLVM's text, on several threads.
//
// llvmlite holds a lock of its own during every call, so Python threads that call it wait for each
// other. Its C functions need none where context and target machine are private to a thread; here
// they are called by address, without that lock and without the GIL.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/common.h"

namespace tigon {

// What a code generator consists of, as llvmlite declares it.
struct CodeGenerator {
  void* (*create_context)();
  void (*dispose_context)(void* context);
  void* (*parse)(void* context, const char* text, const char** error);
  int (*verify)(void* module, const char** error);  // null: take the text as it is
  void* (*emit)(void* machine, void* module, int as_object, const char** error);
  void (*dispose_module)(void* module);
  const void* (*buffer_start)(void* buffer);
  size_t (*buffer_size)(void* buffer);
  void (*dispose_buffer)(void* buffer);
  void (*dispose_string)(const char* text);
};

struct ObjectCode {
  bool refused = false;
  std::string content;  // object code, or why there is none
};

// One batch of modules. The threads live no longer than the batch.
class ObjectCompiler {
 public:
  // A machine for every thread that may work, the caller of `finish` included.
  ObjectCompiler(const CodeGenerator& generator, std::vector<void*> machines);
  ~ObjectCompiler();  // what has not begun is dropped
  ObjectCompiler(const ObjectCompiler&) = delete;
  ObjectCompiler& operator=(const ObjectCompiler&) = delete;

  void add(std::string text);        // begins at once where a machine is free
  std::vector<ObjectCode> finish();  // helps; results in the order in which texts were added

 private:
  void work(void* machine);
  ObjectCode compile(void* machine, const std::string& text) const;
  void close();

  CodeGenerator generator_;
  std::vector<void*> machines_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  std::vector<ObjectCode> results_;
  size_t next_ = 0;
  size_t idle_ = 0;
  bool closed_ = false;
};

}  // namespace tigon
