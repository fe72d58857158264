// What was compiled, by words: what is called, its modes, and the addresses of types, which the
// entries keep alive. Guarded by the GIL.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace tigon {

inline uint64_t hash_of(const uint64_t* key, size_t words) {
  uint64_t hash = words;
  for (size_t index = 0; index < words; ++index) {
    hash = (hash ^ key[index]) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  return hash;
}

struct Keyed {
  uint64_t hash;
  uint64_t age;  // when it was inserted, counted
  std::vector<uint64_t> key;

  void set_key(const uint64_t* words, size_t count, uint64_t its_hash) {
    hash = its_hash;
    key.assign(words, words + count);
  }
};

// Of bounded size: when it is full, the older half goes.
template <class Entry>
class KeyedCache {
 public:
  using Held = std::shared_ptr<Entry>;

  explicit KeyedCache(size_t most) : most_(most) {}

  const Held* find(const uint64_t* key, size_t words, uint64_t hash) const {
    size_t mask = slots_.size() - 1;
    for (size_t index = hash & mask; slots_[index]; index = (index + 1) & mask) {
      const Entry& entry = *slots_[index];
      if (entry.hash == hash && entry.key.size() == words &&
          std::memcmp(entry.key.data(), key, words * sizeof(uint64_t)) == 0)
        return &slots_[index];
    }
    return nullptr;
  }

  void insert(Held entry) {
    std::vector<Held> gone;  // goes last: what it holds may run Python code, which may come here
    entry->age = ++age_;
    if (used_ >= most_) {
      std::vector<Held> kept = by_age();
      auto middle = kept.begin() + static_cast<std::ptrdiff_t>(kept.size() - most_ / 2);
      gone.assign(kept.begin(), middle);
      kept.erase(kept.begin(), middle);
      rebuild(kept, slots_.size());
    }
    if ((used_ + 1) * 2 > slots_.size()) rebuild(by_age(), slots_.size() * 2);
    place(std::move(entry));
  }

  std::vector<Held> by_age() const {
    std::vector<Held> all;
    for (const Held& held : slots_) {
      if (held) all.push_back(held);
    }
    std::sort(all.begin(), all.end(), [](const Held& a, const Held& b) { return a->age < b->age; });
    return all;
  }

  size_t size() const { return used_; }
  void set_most(size_t most) { most_ = most; }

  void clear() {
    std::vector<Held> gone(kFirst);
    gone.swap(slots_);
    used_ = 0;
  }

  template <class Visit>
  int each(const Visit& visit) const {
    for (const Held& held : slots_) {
      if (!held) continue;
      if (int result = visit(*held)) return result;
    }
    return 0;
  }

 private:
  static constexpr size_t kFirst = 16;

  void rebuild(const std::vector<Held>& all, size_t size) {
    std::vector<Held> old(size);
    old.swap(slots_);
    used_ = 0;
    for (const Held& held : all) place(held);
  }

  void place(Held entry) {
    size_t mask = slots_.size() - 1;
    size_t index = entry->hash & mask;
    while (slots_[index]) index = (index + 1) & mask;
    slots_[index] = std::move(entry);
    ++used_;
  }

  size_t most_;
  std::vector<Held> slots_ = std::vector<Held>(kFirst);
  size_t used_ = 0;
  uint64_t age_ = 0;
};

}  // namespace tigon
