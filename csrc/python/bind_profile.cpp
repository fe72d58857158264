// The profile, and Python's own calls in it, for Python.
#include "profile/profile.h"

#include <memory>
#include <unordered_map>

#include "python/binding.h"

namespace tigon {
namespace {

using namespace nb::literals;
using profile::SpanKind;

// Whose code a function is.
enum class Whose : uint8_t { Library, User, Own, OwnData, OwnPrivate };

struct Code {
  Whose whose;
  std::string name;
  int line;
  const std::string* file;
};

// Guarded by the GIL, as all that follows. Code is held: another could take its address.
auto* codes = new std::unordered_map<PyObject*, Code>;
PyObject* classify = nullptr;  // code -> (whose, name)

struct Frame {
  PyFrameObject* frame;  // borrowed: compared only
  Whose whose;           // of a library: of what called it
  int64_t span;          // -1: none
};

struct Calls {
  std::vector<Frame> frames;
  bool asking = false;  // our own question is under way
};
thread_local Calls calls;

const Code* code_of(PyFrameObject* frame) {
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  auto found = codes->find(code.ptr());
  if (found != codes->end()) return &found->second;
  calls.asking = true;
  nb::object answer = nb::steal(PyObject_CallOneArg(classify, code.ptr()));
  calls.asking = false;
  int whose = 0;
  const char* name = nullptr;
  if (!answer.is_valid() || !PyArg_ParseTuple(answer.ptr(), "is", &whose, &name)) return nullptr;
  PyObject* file = reinterpret_cast<PyCodeObject*>(code.ptr())->co_filename;
  const char* text = PyUnicode_AsUTF8(file);
  if (!text) PyErr_Clear();
  Code made{static_cast<Whose>(whose), name,
            reinterpret_cast<PyCodeObject*>(code.ptr())->co_firstlineno,
            profile::lasting(text ? text : "?")};
  return &codes->emplace(code.release().ptr(), std::move(made)).first->second;
}

bool is_own(Whose whose) { return whose >= Whose::Own; }

void leave(size_t kept) {
  while (calls.frames.size() > kept) {
    if (calls.frames.back().span >= 0) profile::end(static_cast<size_t>(calls.frames.back().span));
    calls.frames.pop_back();
  }
}

// Of ours what the user calls is a span, not what that calls. Frames whose end was not shown, as
// other profilers were at work meanwhile, have ended where their caller goes on.
int enter(PyFrameObject* frame) {
  const Code* code = code_of(frame);
  if (!code) return -1;
  nb::object caller = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(frame)));
  size_t kept = calls.frames.size();
  while (kept && calls.frames[kept - 1].frame != reinterpret_cast<PyFrameObject*>(caller.ptr()))
    --kept;
  leave(kept);
  bool within = !calls.frames.empty() && is_own(calls.frames.back().whose);
  Whose whose = code->whose == Whose::Library && within ? Whose::OwnPrivate : code->whose;
  int64_t span = -1;
  SpanKind kind = whose == Whose::OwnData ? SpanKind::Data : SpanKind::Python;
  bool shown = whose == Whose::User || (!within && is_own(whose) && whose != Whose::OwnPrivate);
  if (shown && profile::watches(kind)) {
    profile::Place before = profile::place;
    profile::place = {code->file->c_str(), code->line, before.block, false};
    span = static_cast<int64_t>(profile::begin(kind, code->name));
    profile::place = before;
  }
  calls.frames.push_back({frame, whose, span});
  return 0;
}

int on_event(PyObject*, PyFrameObject* frame, int what, PyObject*) {
  if (calls.asking) return 0;
  if (what == PyTrace_CALL) return enter(frame);
  if (what != PyTrace_RETURN) return 0;
  size_t kept = calls.frames.size();
  while (kept && calls.frames[kept - 1].frame != frame) --kept;
  if (kept) leave(kept - 1);
  return 0;
}

void show_calls(bool on) {
  PyThreadState* thread = PyThreadState_Get();
  if (on && !thread->c_profilefunc) {
    calls.frames.clear();
    PyEval_SetProfile(on_event, nullptr);
  } else if (!on && thread->c_profilefunc == on_event) {
    PyEval_SetProfile(nullptr, nullptr);
    leave(0);
  }
}

// The call of a block that is written in Python.
class BlockSpan {
 public:
  explicit BlockSpan(const std::string& name) {
    const std::string* block = profile::lasting(name);
    profile::Place where{nullptr, 0, block, false};
    where.file = caller_place(&where.line);
    span_ = std::make_unique<profile::Span>();
    span_->open_at(SpanKind::Block, *block, where);
  }
  void close() { span_.reset(); }

 private:
  std::unique_ptr<profile::Span> span_;
};

nb::list taken(bool forget) {
  nb::list all;
  for (const profile::ThreadEvents& thread : profile::take(forget)) {
    nb::object bytes = nb::steal(PyBytes_FromStringAndSize(
        nullptr, static_cast<Py_ssize_t>(thread.events.size() * sizeof(profile::Event))));
    if (!bytes.is_valid()) throw nb::python_error();
    auto* place = reinterpret_cast<profile::Event*>(PyBytes_AS_STRING(bytes.ptr()));
    for (const profile::Event& event : thread.events) std::memcpy(place++, &event, sizeof event);
    nb::list names;
    for (const std::string& name : thread.names)
      names.append(nb::steal(
          PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "replace")));
    all.append(nb::make_tuple(thread.number, thread.system_id, thread.title.c_str(), names, bytes,
                              thread.left_out));
  }
  return all;
}

}  // namespace

void bind_profile(nb::module_& m) {
  nb::module_ sub = m.def_submodule("profile", "What each thread did, and when.");
  sub.def("start", &profile::start, "kinds"_a);
  sub.def("stop", &profile::stop);
  sub.def("pause", &profile::pause);
  sub.def("resume", &profile::resume);
  sub.def("take", &taken, "forget"_a);
  sub.def("now", &profile::now);
  sub.def("is_on", &profile::watches_any);
  sub.def(
      "begin",
      [](int kind, const std::string& name) -> int64_t {
        auto wanted = static_cast<SpanKind>(kind);
        if (kind < 0 || kind >= profile::kSpanKinds || !profile::watches(wanted)) return -1;
        return static_cast<int64_t>(profile::begin(wanted, name));
      },
      "kind"_a, "name"_a);
  sub.def(
      "end",
      [](int64_t span) {
        if (span >= 0) profile::end(static_cast<size_t>(span));
      },
      "span"_a);
  nb::class_<BlockSpan>(sub, "BlockSpan")
      .def(nb::init<const std::string&>(), "name"_a)
      .def("close", &BlockSpan::close);
  sub.def("show_calls", &show_calls, "on"_a);
  sub.def(
      "set_classify", [](nb::object function) { Py_XSETREF(classify, function.release().ptr()); },
      "function"_a);
}

}  // namespace tigon
