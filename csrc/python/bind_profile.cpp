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
constexpr size_t kMostCodes = 1 << 14;
auto* codes = new std::unordered_map<PyObject*, Code>;
PyObject* classify = nullptr;  // code -> (whose, name)

struct Frame {
  PyFrameObject* frame;  // borrowed: compared only
  Whose whose;           // of a library: of what called it
  int64_t span;          // -1: none
};

struct Calls {
  std::vector<Frame> frames;
  bool shown = false;
  bool asking = false;  // our own question is under way
};
thread_local Calls calls;

// UTF-8 of any text.
std::string bytes_of(PyObject* text) {
  nb::object bytes =
      nb::steal(text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : nullptr);
  if (!bytes.is_valid()) {
    PyErr_Clear();
    return "?";
  }
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

const Code* code_of(PyFrameObject* frame) {
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  auto found = codes->find(code.ptr());
  if (found != codes->end()) return &found->second;
  calls.asking = true;
  PyObject *type, *value, *trace;  // of what is under way
  PyErr_Fetch(&type, &value, &trace);
  nb::object answer = nb::steal(PyObject_CallOneArg(classify, code.ptr()));
  calls.asking = false;
  Code made{Whose::Library, "?", reinterpret_cast<PyCodeObject*>(code.ptr())->co_firstlineno,
            profile::lasting(bytes_of(reinterpret_cast<PyCodeObject*>(code.ptr())->co_filename))};
  if (answer.is_valid()) {
    long whose = PyLong_AsLong(PyTuple_GetItem(answer.ptr(), 0));
    if (whose >= 0) made.whose = static_cast<Whose>(whose);
    made.name = bytes_of(PyTuple_GetItem(answer.ptr(), 1));
  }
  PyErr_Restore(type, value, trace);  // what went wrong here is nobody's but the profile's
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
void enter(PyFrameObject* frame) {
  const Code* code = code_of(frame);
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
}

int on_event(PyObject*, PyFrameObject* frame, int what, PyObject*) {
  if (calls.asking) return 0;
  if (!profile::is_running()) {  // another thread has ended the profile
    calls.shown = false;
    calls.frames.clear();
    PyEval_SetProfile(nullptr, nullptr);
    return 0;
  }
  if (what == PyTrace_CALL) enter(frame);
  if (what != PyTrace_RETURN) return 0;
  size_t kept = calls.frames.size();
  while (kept && calls.frames[kept - 1].frame != frame) --kept;
  if (kept) leave(kept - 1);
  return 0;
}

void show_calls(bool on) {
  PyThreadState* thread = PyThreadState_Get();
  if (on && !thread->c_profilefunc) {
    if (codes->size() > kMostCodes) {
      std::unordered_map<PyObject*, Code> old;
      old.swap(*codes);
      for (auto& [code, _] : old) Py_DECREF(code);
    }
    calls.frames.clear();
    calls.shown = true;
    PyEval_SetProfile(on_event, nullptr);
  } else if (!on) {
    calls.shown = false;
    if (thread->c_profilefunc == on_event) PyEval_SetProfile(nullptr, nullptr);
    leave(0);
  }
}

// The call of a block that is written in Python.
class BlockSpan {
 public:
  explicit BlockSpan(const std::string& name) {
    const std::string* block = profile::lasting(name);
    span_ = std::make_unique<profile::Span>();
    span_->open_at(SpanKind::Block, *block, place_of_caller(block));
  }
  void close() { span_.reset(); }

 private:
  std::unique_ptr<profile::Span> span_;
};

nb::list taken() {
  nb::list all;
  for (const profile::ThreadEvents& thread : profile::take()) {
    nb::object bytes = nb::steal(PyBytes_FromStringAndSize(
        nullptr, static_cast<Py_ssize_t>(thread.events.size() * sizeof(profile::Event))));
    if (!bytes.is_valid()) throw nb::python_error();
    auto* place = reinterpret_cast<profile::Event*>(PyBytes_AS_STRING(bytes.ptr()));
    for (const profile::Event& event : thread.events) std::memcpy(place++, &event, sizeof event);
    nb::list names;
    for (const std::string& name : thread.names)
      names.append(nb::steal(
          PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "replace")));
    all.append(nb::make_tuple(thread.number, thread.system_id, thread.title.c_str(), names,
                              thread.first, bytes, thread.left_out));
  }
  return all;
}

}  // namespace

void see_to_calls() {
  if (calls.shown && profile::is_running() && !PyThreadState_Get()->c_profilefunc)
    PyEval_SetProfile(on_event, nullptr);
}

void bind_profile(nb::module_& m) {
  nb::module_ sub = m.def_submodule("profile", "What each thread did, and when.");
  sub.def("start", &profile::start, "kinds"_a, "most"_a);
  sub.def("stop", &profile::stop);
  sub.def("pause", &profile::pause);
  sub.def("resume", &profile::resume);
  sub.def("session", &profile::session_number);
  sub.def("take", &taken);
  sub.def("forget", &profile::forget, "thread"_a, "until"_a);
  sub.def("set_thread_title", &profile::set_thread_title, "title"_a);
  sub.def("now", &profile::now);
  sub.def("is_running", &profile::is_running);
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
