// The engine and its counters, for Python.
#include "python/binding.h"

#include "call/dispatch.h"
#include "core/deadline.h"
#include "engine/engine.h"
#include "tape/tape.h"

namespace tigon {
namespace {

using namespace nb::literals;

nb::dict stats() {
  nb::dict result;
  result["native_calls"] = counters.native_calls;
  result["imperative_operators"] = counters.imperative_operators;
  result["signature_hits"] = counters.signature_hits;
  result["signature_misses"] = counters.signature_misses;
  result["signatures"] = signature_count();
  result["types"] = ArrayType::count();
  result["bytes_now"] = memory::bytes_now();
  result["bytes_peak"] = memory::bytes_peak();
  memory::PoolFigures pool = memory::pool_figures();
  result["pool_bytes"] = pool.mapped;
  result["pool_peak"] = pool.peak;
  result["pool_free"] = pool.free;
  result["pool_largest_free"] = pool.largest_free;
  result["pool_rounding"] = pool.rounding;
  result["pool_fresh_blocks"] = pool.fresh;
  result["pushed"] = counters.pushed;
  result["inlined"] = counters.inlined;
  result["tape_nodes"] = tape_node_count();
  return result;
}

// A lost update of a weight that nobody was told of.
void raise_undone(Array* array) {
  translated([&] {
    if (!array->storage) return;
    if (std::shared_ptr<Failure> failure = Engine::instance().take_undone(*array->storage))
      throw TravelledError{failure};
  });
}

}  // namespace

void bind_engine(nb::module_& m) {
  nb::class_<Deadline>(m, "Deadline")
      .def(nb::init<double, std::string>(), "seconds"_a, "message"_a)
      .def("cancel", &Deadline::cancel);
  m.def("waitall", [] { translated([] { wait_all(); }); });
  m.def("raise_undone", [](nb::object arrays) {
    if (!Engine::instance().has_undone()) return;
    for (nb::handle array : arrays) {
      if (is_array(array.ptr())) raise_undone(as_array(array.ptr()));
    }
  });
  m.def("set_naive", [](bool on) {
    translated([&] {
      wait_all();
      Engine::instance().naive = on;
    });
  });
  m.def("set_num_threads", [](int count) {
    translated([&] {
      if (count < 1)
        throw UserError("set_num_threads: expected at least 1; given " + std::to_string(count));
      wait_all();
      GilReleased released;
      ThreadPool::instance().set_threads(count);
    });
  });
  m.def("num_threads", [] { return ThreadPool::instance().threads(); });
  m.def("stats", stats);
  m.def("reset_peak", memory::reset_peak);
  m.def("trim", memory::trim);
  m.def("turn_pool", [] { memory::turn(true); }, nb::call_guard<nb::gil_scoped_release>());
  m.def("set_notice_teller", [](nb::object teller) { set_notice_teller(teller.ptr()); });
  m.def("forget_notices", forget_notices);
  m.def("set_error_types", [](nb::object user, nb::object index, nb::object timeout) {
    set_error_types(user.ptr(), index.ptr(), timeout.ptr());
  });
  m.def("set_inline_threshold", [](double microseconds) { inline_threshold = microseconds; });
  m.def("inline_threshold", [] { return inline_threshold; });
}

}  // namespace tigon
