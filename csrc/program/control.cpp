#include "program/control.h"

#include <algorithm>

namespace tigon {
namespace {

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// One block for all that lives between the programs of a launch.
class Block {
 public:
  explicit Block(Executor& executor) : executor_(executor) {}
  ~Block() {
    if (block_) executor_.release(block_, bytes_);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  size_t reserve(size_t bytes) { return std::exchange(bytes_, bytes_ + aligned(bytes)); }
  void allocate() {
    if (bytes_) block_ = executor_.allocate(bytes_);
  }
  char* at(size_t offset) const { return static_cast<char*>(block_) + offset; }

 private:
  Executor& executor_;
  size_t bytes_ = 0;
  void* block_ = nullptr;
};

bool execute(Executor& executor, const ProgramCode& code, void* const* inputs, void* const* outputs,
             void* arena, KernelFailure& failure) {
  const DeviceKind* kind = executor.kind();
  if (!kind) return code.try_execute(inputs, outputs, arena, failure);
  std::vector<void*> buffers =
      code.buffers_on(device_of(kind->name, executor.number()), inputs, outputs, arena);
  return executor.run(code.waves, buffers.data(), failure);
}

void say_where(KernelFailure& failure, const std::string& name, const std::string& what) {
  failure.within(name + ": " + what + ": ");
}

char* row(void* begin, int64_t number, size_t bytes) {
  return static_cast<char*>(begin) + static_cast<size_t>(number) * bytes;
}

bool holds(Executor& executor, const void* place) {
  unsigned char value = 0;
  executor.read(&value, place, sizeof(value));
  return value != 0;
}

}  // namespace

// SplitMix64's finalizer (Steele, Lea and Flood 2014) of both words.
RandomKey inner_key(RandomKey key) {
  auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  uint64_t counted = mix(static_cast<uint64_t>(key.counter) + 0x9E3779B97F4A7C15u);
  return {static_cast<int64_t>(mix(static_cast<uint64_t>(key.seed) ^ counted)), 0};
}

size_t Control::buffer_count() const {
  if (kind == Kind::Choice) return 1 + inputs() + body->output_count;
  size_t stacks = static_cast<size_t>(std::count(kept.begin(), kept.end(), true));
  return inputs() + (counted ? 1 : 0) + outs + states + stacks + (kind == Kind::While ? 1 : 0);
}

void Control::check() const {
  auto demand = [](bool condition, const char* what) {
    if (!condition) throw InternalError(std::string("control: ") + what);
  };
  demand(static_cast<bool>(body), "there is no body");
  demand(body->input_count == inputs(), "the body takes another number of operands");
  if (kind == Kind::Choice) {
    demand(static_cast<bool>(other), "there is one branch");
    demand(other->input_count == inputs() && other->output_count == body->output_count,
           "the branches differ");
    demand(data == 0 && states == 0, "a branch has other operands");
    return;
  }
  demand(body->output_count == outs + states, "the body has another number of results");
  demand(row_bytes.size() == data + outs && state_bytes.size() == states && kept.size() == states,
         "sizes are missing");
  demand(most >= 0, "a negative number of iterations");
  demand(loose <= outs, "there are fewer results than that");
  if (kind == Kind::While) {
    demand(static_cast<bool>(other) && data == 0 && !reverse && !counted, "no loop is like that");
    demand(other->input_count == inputs() && other->output_count == 1,
           "the condition does not fit the body");
  }
}

void Control::send_constants(Device& device) const {
  body->constants_on(device);
  if (other) other->constants_on(device);
}

bool Control::run(void* const* buffers, Executor& executor, const std::string& name,
                  KernelFailure& failure) const {
  return kind == Kind::Choice ? choose(buffers, executor, name, failure)
                              : loop(buffers, executor, name, failure);
}

bool Control::choose(void* const* buffers, Executor& executor, const std::string& name,
                     KernelFailure& failure) const {
  bool taken = holds(executor, buffers[0]);
  const ProgramCode& code = taken ? *body : *other;
  Block block(executor);
  size_t arena = block.reserve(code.arena_bytes);
  size_t key_place = block.reserve(keyed ? sizeof(RandomKey) : 0);
  block.allocate();
  std::vector<void*> in(buffers + 1, buffers + 1 + inputs());
  if (keyed) {
    RandomKey key;
    executor.read(&key, in.back(), sizeof(key));
    key.counter += ordinal;
    key = inner_key(key);
    in.back() = block.at(key_place);
    executor.send(in.back(), &key, sizeof(key));
  }
  if (execute(executor, code, in.data(), buffers + 1 + inputs(), block.at(arena), failure))
    return true;
  say_where(failure, name, taken ? "where it holds" : "where it does not hold");
  return false;
}

bool Control::loop(void* const* buffers, Executor& executor, const std::string& name,
                   KernelFailure& failure) const {
  bool conditional = kind == Kind::While;
  void* const* next = buffers + data + states + others;
  int64_t count = most;
  if (counted) {
    executor.read(&count, *next++, sizeof(count));
    count = std::clamp<int64_t>(count, 0, most);
  }
  RandomKey key{};
  if (keyed) {
    executor.read(&key, *next++, sizeof(key));
    key.counter += ordinal;
    key = inner_key(key);
  }
  void* const* rows = next;
  void* const* last = rows + outs;
  next = last + states;

  Block block(executor);
  size_t arena = block.reserve(body->arena_bytes);
  size_t condition_arena = block.reserve(conditional ? other->arena_bytes : 0);
  size_t truth = block.reserve(conditional ? 1 : 0);
  size_t key_place = block.reserve(keyed ? sizeof(RandomKey) : 0);
  std::vector<size_t> place(states);  // two of each state that is not kept, in turns
  for (uint32_t state = 0; state < states; ++state) {
    if (!kept[state]) place[state] = block.reserve(2 * aligned(state_bytes[state]));
  }
  block.allocate();

  std::vector<void*> stacks(states);
  std::vector<void*> in(inputs());
  std::vector<void*> out(outs + states);
  std::copy_n(buffers + data, states + others, in.begin() + data);
  void** current = in.data() + data;
  auto number = [&](int64_t step) { return reverse ? count - 1 - step : step; };
  for (uint32_t state = 0; state < states; ++state) {
    if (!kept[state]) continue;
    stacks[state] = *next++;
    if (!count) continue;
    void* first = row(stacks[state], number(0), state_bytes[state]);
    executor.copy(first, current[state], state_bytes[state]);
    current[state] = first;
  }
  if (keyed) in.back() = block.at(key_place);

  int64_t made = 0;
  for (; made < count; ++made) {
    auto fail = [&](const char* what) {
      say_where(failure, name, what + std::to_string(number(made)));
      return false;
    };
    if (keyed) {
      RandomKey own = inner_key({key.seed, number(made)});
      executor.send(in.back(), &own, sizeof(own));
    }
    if (conditional) {
      void* decides = block.at(truth);
      if (!execute(executor, *other, in.data(), &decides, block.at(condition_arena), failure))
        return fail("condition before iteration ");
      if (!holds(executor, decides)) break;
    }
    int64_t own = number(made);
    for (uint32_t index = 0; index < data; ++index)
      in[index] = row(buffers[index], own, row_bytes[index]);
    for (uint32_t index = 0; index < outs; ++index)
      out[index] = row(rows[index], own, row_bytes[data + index]);
    bool is_last = made + 1 == count;
    for (uint32_t state = 0; state < states; ++state) {
      if (is_last)
        out[outs + state] = last[state];
      else if (kept[state])
        out[outs + state] = row(stacks[state], number(made + 1), state_bytes[state]);
      else
        out[outs + state] = block.at(place[state] + (made % 2 ? aligned(state_bytes[state]) : 0));
    }
    if (!execute(executor, *body, in.data(), out.data(), block.at(arena), failure))
      return fail("iteration ");
    std::copy_n(out.data() + outs, states, current);
  }
  for (uint32_t state = 0; state < states; ++state) {
    if (current[state] != last[state])
      executor.copy(last[state], current[state], state_bytes[state]);
  }
  for (uint32_t index = 0; index < outs - loose && made < most; ++index) {
    size_t bytes = row_bytes[data + index];
    executor.clear(row(rows[index], made, bytes), static_cast<size_t>(most - made) * bytes);
  }
  if (conditional) executor.send(*next, &made, sizeof(made));
  return true;
}

}  // namespace tigon
