// Object code (ELF, 64 bits) put together to one piece that runs wherever it lies: what LLVM's
// loader does, without LLVM, which takes longer to import than a small network to run.
//
// Only what code for our kernels consists of is understood: sections that are read or run, symbols,
// and a few kinds of relocations. Anything else is refused by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tigon {

class LinkedCode {
 public:
  // The objects must outlive this. Throws InternalError where they are not understood, or where
  // two of them define one name. `apart`: what leads elsewhere has pages of its own.
  explicit LinkedCode(const std::vector<std::string_view>& objects, bool apart = false);
  ~LinkedCode();

  size_t size() const { return size_; }
  // What is defined for others, by name: offsets into the code.
  const std::map<std::string, size_t>& functions() const { return functions_; }
  // What is called and not defined, and where the code holds the way there: `map_code` writes it.
  const std::map<std::string, size_t>& elsewhere() const { return stubs_; }

  // The code as it is to be at `address`, into `size()` bytes. `elsewhere`: addresses of what the
  // objects call and do not define; what is missing there is asked of the C library.
  void write(uint8_t* memory, uint64_t address,
             const std::map<std::string, uint64_t>& elsewhere) const;
  // The same for code that may be mapped at any multiple of the size of a page: nothing in it is an
  // address but the ways elsewhere, which are still to be written.
  std::string anywhere() const;

 private:
  struct Symbol;
  struct Relocation;
  struct Object;

  void lay_out(Object& object, bool executable);
  void relocate(uint8_t* memory, uint64_t address, const Object& object) const;

  std::vector<Object> objects_;
  std::map<std::string, size_t> functions_;
  std::map<std::string, size_t> stubs_;  // of what is called elsewhere, maybe far away
  size_t size_ = 0;
};

// Memory that holds code for the rest of the process: LinkedCode written and made to run.
std::map<std::string, uint64_t> load_code(const std::vector<std::string_view>& objects,
                                          const std::map<std::string, uint64_t>& elsewhere);

// A part of a file as code, for the rest of the process; where it lies. `elsewhere`: what the code
// calls in the C library, and where it holds the way there. Throws std::system_error, and
// InternalError where there is no such function.
uint64_t map_code(const std::string& path, uint64_t offset, uint64_t size,
                  const std::map<std::string, size_t>& elsewhere);

}  // namespace tigon
