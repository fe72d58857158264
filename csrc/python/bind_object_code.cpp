// Loading of object code, for Python.
#include "python/binding.h"

#include "program/linked_code.h"
#include "program/object_code.h"
#include "program/processor.h"

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

std::vector<std::string_view> views(const nb::sequence& objects, std::vector<nb::bytes>& held) {
  std::vector<std::string_view> made;
  for (nb::handle object : objects) {
    held.push_back(nb::cast<nb::bytes>(object));
    made.emplace_back(held.back().c_str(), held.back().size());
  }
  return made;
}

nb::dict loaded(const nb::sequence& objects, const nb::dict& elsewhere) {
  return translated([&] {
    std::vector<nb::bytes> held;
    std::map<std::string, uint64_t> given;
    for (auto [name, address] : elsewhere)
      given[nb::cast<std::string>(name)] = nb::cast<uint64_t>(address);
    nb::dict made;
    for (const auto& [name, address] : load_code(views(objects, held), given))
      made[name.c_str()] = address;
    return made;
  });
}

nb::tuple linked(const nb::sequence& objects) {
  return translated([&] {
    std::vector<nb::bytes> held;
    LinkedCode code(views(objects, held), true);
    nb::dict functions, elsewhere;
    for (const auto& [name, place] : code.functions()) functions[name.c_str()] = place;
    for (const auto& [name, place] : code.elsewhere()) elsewhere[name.c_str()] = place;
    std::string content = code.anywhere();
    return nb::make_tuple(nb::bytes(content.data(), content.size()), functions, elsewhere);
  });
}

}  // namespace

void bind_object_code(nb::module_& m) {
  m.attr("PROGRAM_VERSION") = TIGON_PROGRAM_VERSION;
  m.def("processor_features", processor_features);
  m.def("load_code", loaded, "objects"_a, "elsewhere"_a);
  m.def("link_anywhere", linked, "objects"_a);
  m.def(
      "map_code",
      [](const std::string& path, uint64_t offset, uint64_t size, const nb::dict& elsewhere) {
        return translated([&] {
          std::map<std::string, size_t> places;
          for (auto [name, place] : elsewhere)
            places[nb::cast<std::string>(name)] = nb::cast<size_t>(place);
          return map_code(path, offset, size, places);
        });
      },
      "path"_a, "offset"_a, "size"_a, "elsewhere"_a);
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
