// Loading of object code, for Python.
#include "python/binding.h"

#include "program/object_code.h"

namespace tigon {
namespace {

using namespace nb::literals;

template <class Function>
void take(const nb::dict& addresses, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(nb::cast<uintptr_t>(addresses[name]));
}

CodeGenerator code_generator(const nb::dict& addresses) {
  CodeGenerator made;
  take(addresses, "create_context", made.create_context);
  take(addresses, "dispose_context", made.dispose_context);
  take(addresses, "parse", made.parse);
  take(addresses, "verify", made.verify);
  take(addresses, "emit", made.emit);
  take(addresses, "dispose_module", made.dispose_module);
  take(addresses, "buffer_start", made.buffer_start);
  take(addresses, "buffer_size", made.buffer_size);
  take(addresses, "dispose_buffer", made.dispose_buffer);
  take(addresses, "dispose_string", made.dispose_string);
  return made;
}

nb::list finish(ObjectCompiler& compiler) {
  return translated([&] {
    std::vector<ObjectCode> results;
    {
      GilReleased released;
      results = compiler.finish();
    }
    nb::list made;
    for (const ObjectCode& code : results) {
      if (code.refused) {
        made.append(nb::str(code.content.data(), code.content.size()));
      } else {
        made.append(nb::bytes(code.content.data(), code.content.size()));
      }
    }
    return made;
  });
}

}  // namespace

void bind_object_code(nb::module_& m) {
  nb::class_<ObjectCompiler>(m, "ObjectCompiler", "Modules of LLVM's text, compiled by threads.")
      .def(
          "__init__",
          [](ObjectCompiler* compiler, const nb::dict& functions,
             const std::vector<uintptr_t>& machines) {
            translated([&] {
              std::vector<void*> pointers;
              for (uintptr_t machine : machines)
                pointers.push_back(reinterpret_cast<void*>(machine));
              ::new (compiler) ObjectCompiler(code_generator(functions), std::move(pointers));
            });
          },
          "functions"_a, "machines"_a)
      .def(
          "add",
          [](ObjectCompiler& compiler, std::string text) {
            translated([&] { compiler.add(std::move(text)); });
          },
          "text"_a)
      .def("finish", finish);
}

}  // namespace tigon
