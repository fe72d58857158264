#include "program/linked_code.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/common.h"

namespace tigon {

namespace {

// As the ELF specification lays files out; <elf.h> is not everywhere.
struct FileHeader {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, program_headers, section_headers;
  uint32_t flags;
  uint16_t header_size, program_header_size, program_header_count;
  uint16_t section_header_size, section_count, names;
};

struct SectionHeader {
  uint32_t name, type;
  uint64_t flags, address, offset, size;
  uint32_t link, info;
  uint64_t alignment, entry_size;
};

struct FileSymbol {
  uint32_t name;
  uint8_t info, other;
  uint16_t section;
  uint64_t value, size;
};

struct FileRelocation {
  uint64_t offset, info;
  int64_t addend;
};

constexpr uint16_t kRelocatable = 1, kX86_64 = 62, kAArch64 = 183;
constexpr uint32_t kSymbols = 2, kRelocations = 4, kZeros = 8;
constexpr uint64_t kWritten = 1, kInMemory = 2, kExecuted = 4;
constexpr uint8_t kLocal = 0, kSectionSymbol = 3, kFileSymbol = 4;
constexpr uint16_t kUndefined = 0;
constexpr size_t kAbsent = static_cast<size_t>(-1);
constexpr size_t kCodeAlignment = 64, kStub = 16, kLargestPage = 65536;

[[noreturn]] void refuse(const std::string& what) { throw InternalError("object code: " + what); }

template <class T>
T read_at(std::string_view from, uint64_t offset) {
  T made;
  if (offset > from.size() || from.size() - offset < sizeof(T)) refuse("an object ends early");
  std::memcpy(&made, from.data() + offset, sizeof(T));
  return made;
}

std::string_view part(std::string_view from, uint64_t offset, uint64_t size) {
  if (offset > from.size() || from.size() - offset < size) refuse("an object ends early");
  return from.substr(offset, size);
}

std::string text_at(std::string_view table, uint64_t offset) {
  if (offset > table.size()) refuse("an object ends early");
  std::string_view rest = table.substr(offset);
  size_t end = rest.find('\0');
  if (end == rest.npos) refuse("a name has no end");
  std::string name(rest.substr(0, end));
  for (char letter : name)
    if (letter < ' ' || letter > '~') refuse("a name is not of letters");
  return name;
}

uint64_t up_to(uint64_t size, uint64_t alignment) {
  return alignment < 2 ? size : (size + alignment - 1) / alignment * alignment;
}

bool fits(int64_t value, int bits) {
  return value >= -(int64_t{1} << (bits - 1)) && value < int64_t{1} << (bits - 1);
}

void put32(uint8_t* at, int64_t value, const std::string& name) {
  if (!fits(value, 32)) refuse("'" + name + "' is too far away");
  uint32_t word = static_cast<uint32_t>(value);
  std::memcpy(at, &word, 4);
}

// Bits of an instruction.
void put_field(uint8_t* at, uint64_t value, int from, int count) {
  uint32_t word, mask = ((uint32_t{1} << count) - 1) << from;
  std::memcpy(&word, at, 4);
  word = (word & ~mask) | (static_cast<uint32_t>(value << from) & mask);
  std::memcpy(at, &word, 4);
}

// What a relocation puts where.
struct Place {
  uint8_t* at;
  uint64_t address;  // of `at`
  uint64_t room;     // bytes from `at` to the end of its section
  uint64_t target;   // of the symbol, and what is added to it
  const std::string& name;
};

void put64(const Place& place, int64_t value) {
  if (place.room < 8) refuse("a relocation beyond its section");
  std::memcpy(place.at, &value, 8);
}

void relocate_x86_64(uint32_t kind, const Place& place) {
  constexpr uint32_t kRelative = 2, kCall = 4, kRelative64 = 24;
  int64_t distance = static_cast<int64_t>(place.target - place.address);
  switch (kind) {
  case kRelative:
  case kCall:
    return put32(place.at, distance, place.name);
  case kRelative64:
    return put64(place, distance);
  default:
    refuse("relocation " + std::to_string(kind) + " of x86-64 is not known");
  }
}

void relocate_aarch64(uint32_t kind, const Place& place) {
  constexpr uint32_t kRelative64 = 260, kRelative32 = 261, kPage = 275, kAdd = 277, kByte = 278,
                     kJump = 282, kCall = 283, kHalf = 284, kWord = 285, kDouble = 286, kQuad = 299;
  int64_t distance = static_cast<int64_t>(place.target - place.address);
  uint64_t in_page = place.target & 0xfff;
  switch (kind) {
  case kRelative64:
    return put64(place, distance);
  case kRelative32:
    return put32(place.at, distance, place.name);
  case kPage: {
    int64_t pages =
        (static_cast<int64_t>(place.target) >> 12) - (static_cast<int64_t>(place.address) >> 12);
    if (!fits(pages, 21)) refuse("'" + place.name + "' is too far away");
    put_field(place.at, static_cast<uint64_t>(pages) & 3, 29, 2);
    return put_field(place.at, static_cast<uint64_t>(pages) >> 2, 5, 19);
  }
  case kAdd:
  case kByte:
    return put_field(place.at, in_page, 10, 12);
  case kHalf:
    return put_field(place.at, in_page >> 1, 10, 12);
  case kWord:
    return put_field(place.at, in_page >> 2, 10, 12);
  case kDouble:
    return put_field(place.at, in_page >> 3, 10, 12);
  case kQuad:
    return put_field(place.at, in_page >> 4, 10, 12);
  case kJump:
  case kCall:
    if (!fits(distance, 28)) refuse("'" + place.name + "' is too far away");
    return put_field(place.at, static_cast<uint64_t>(distance) >> 2, 0, 26);
  default:
    refuse("relocation " + std::to_string(kind) + " of AArch64 is not known");
  }
}

// A jump to anywhere.
void write_stub(uint8_t* at, uint16_t machine, uint64_t target) {
  if (machine == kX86_64) {
    const uint8_t jump[] = {0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc};  // jmp *2(%rip)
    std::memcpy(at, jump, sizeof jump);
  } else {
    const uint32_t jump[] = {0x58000050, 0xd61f0200};  // ldr x16, 8; br x16
    std::memcpy(at, jump, sizeof jump);
  }
  std::memcpy(at + 8, &target, 8);
}

uint64_t of_the_library(const std::string& name) {
  auto address = reinterpret_cast<uint64_t>(dlsym(RTLD_DEFAULT, name.c_str()));
  if (!address) refuse("'" + name + "' is not defined anywhere");
  return address;
}

}  // namespace

struct LinkedCode::Symbol {
  std::string name;  // of what is not local
  uint8_t binding = kLocal;
  uint16_t section = kUndefined;
  uint64_t value = 0;
};

struct LinkedCode::Relocation {
  uint64_t offset;  // in its section
  size_t section;
  uint32_t kind;
  size_t symbol;
  int64_t addend;
};

struct LinkedCode::Object {
  explicit Object(std::string_view given) : content(given) {
    auto header = read_at<FileHeader>(content, 0);
    const uint8_t expected[] = {0x7f, 'E', 'L', 'F', 2, 1};
    if (std::memcmp(header.ident, expected, sizeof expected) || header.type != kRelocatable)
      refuse("not a relocatable object of 64 bits");
    machine = header.machine;
    if (machine != kX86_64 && machine != kAArch64)
      refuse("machine " + std::to_string(machine) + " is not known");
    for (uint16_t number = 0; number < header.section_count; ++number)
      sections.push_back(read_at<SectionHeader>(
          content, header.section_headers + uint64_t{number} * sizeof(SectionHeader)));
    places.assign(sections.size(), kAbsent);
    for (const SectionHeader& section : sections) {
      if (section.type == kSymbols) read_symbols(section);
      bool in_memory = section.flags & kInMemory;
      if (in_memory && (section.flags & kWritten || section.type == kZeros) && section.size)
        refuse("code has memory of its own");
      if (in_memory && section.alignment > 4096) refuse("an alignment beyond that of a page");
    }
    for (const SectionHeader& section : sections)
      if (section.type == kRelocations) read_relocations(section);
  }

  const SectionHeader& section(size_t number) const {
    if (number >= sections.size()) refuse("a section is missing");
    return sections[number];
  }

  std::string_view content_of(const SectionHeader& section) const {
    return part(content, section.offset, section.size);
  }

  void read_symbols(const SectionHeader& table) {
    std::string_view names = content_of(section(table.link)), rows = content_of(table);
    for (uint64_t at = 0; at < rows.size(); at += sizeof(FileSymbol)) {
      auto row = read_at<FileSymbol>(rows, at);
      Symbol symbol;
      symbol.binding = row.info >> 4;
      uint8_t kind = row.info & 15;
      symbol.section = row.section;
      symbol.value = row.value;
      if (symbol.binding != kLocal || (kind != kSectionSymbol && kind != kFileSymbol))
        symbol.name = text_at(names, row.name);
      symbols.push_back(std::move(symbol));
    }
  }

  void read_relocations(const SectionHeader& table) {
    // Those of sections that are not in memory say where functions are unwound, and the like.
    if (!(section(table.info).flags & kInMemory)) return;
    std::string_view rows = content_of(table);
    for (uint64_t at = 0; at < rows.size(); at += sizeof(FileRelocation)) {
      auto row = read_at<FileRelocation>(rows, at);
      size_t symbol = row.info >> 32;
      if (symbol >= symbols.size()) refuse("a relocation of a symbol that is not there");
      if (row.offset > section(table.info).size || section(table.info).size - row.offset < 4)
        refuse("a relocation beyond its section");
      relocations.push_back(
          {row.offset, table.info, static_cast<uint32_t>(row.info), symbol, row.addend});
    }
  }

  std::string_view content;
  uint16_t machine = 0;
  std::vector<SectionHeader> sections;
  std::vector<size_t> places;  // of sections in the code
  std::vector<Symbol> symbols;
  std::vector<Relocation> relocations;
};

LinkedCode::LinkedCode(const std::vector<std::string_view>& objects, bool apart) {
  for (std::string_view content : objects) objects_.emplace_back(content);
  for (bool executable : {true, false})
    for (Object& object : objects_) lay_out(object, executable);
  for (const Object& object : objects_) {
    if (object.machine != objects_[0].machine) refuse("objects for different machines");
    for (const Symbol& symbol : object.symbols) {
      if (symbol.binding == kLocal || symbol.section == kUndefined) continue;
      if (symbol.section >= object.places.size() || object.places[symbol.section] == kAbsent ||
          symbol.value > object.sections[symbol.section].size)
        refuse("'" + symbol.name + "' is in no section");
      size_t place = object.places[symbol.section] + symbol.value;
      if (!functions_.emplace(symbol.name, place).second)
        refuse("'" + symbol.name + "' is defined twice");
    }
  }
  for (const Object& object : objects_)
    for (const Relocation& relocation : object.relocations) {
      const Symbol& symbol = object.symbols[relocation.symbol];
      if (symbol.section == kUndefined && !functions_.count(symbol.name) &&
          !stubs_.count(symbol.name)) {
        size_ = up_to(size_, apart && stubs_.empty() ? kLargestPage : kStub);
        stubs_[symbol.name] = size_;
        size_ += kStub;
      }
    }
}

LinkedCode::~LinkedCode() = default;

void LinkedCode::lay_out(Object& object, bool executable) {
  for (size_t number = 0; number < object.sections.size(); ++number) {
    const SectionHeader& section = object.sections[number];
    if (!(section.flags & kInMemory) || bool(section.flags & kExecuted) != executable) continue;
    object.content_of(section);  // is there
    uint64_t least = executable ? kCodeAlignment : 1;
    size_ = up_to(size_, section.alignment > least ? section.alignment : least);
    object.places[number] = size_;
    size_ += section.size;
  }
}

void LinkedCode::write(uint8_t* memory, uint64_t address,
                       const std::map<std::string, uint64_t>& elsewhere) const {
  std::memset(memory, 0, size_);
  for (const auto& [name, place] : stubs_) {
    auto found = elsewhere.find(name);
    uint64_t target = found != elsewhere.end() ? found->second : of_the_library(name);
    write_stub(memory + place, objects_[0].machine, target);
  }
  for (const Object& object : objects_) relocate(memory, address, object);
}

std::string LinkedCode::anywhere() const {
  std::string made(size_, '\0');
  auto* memory = reinterpret_cast<uint8_t*>(made.data());
  for (const auto& stub : stubs_) write_stub(memory + stub.second, objects_[0].machine, 0);
  for (const Object& object : objects_) relocate(memory, 0, object);
  return made;
}

void LinkedCode::relocate(uint8_t* memory, uint64_t address, const Object& object) const {
  for (size_t number = 0; number < object.sections.size(); ++number) {
    if (object.places[number] == kAbsent) continue;
    std::string_view content = object.content_of(object.sections[number]);
    std::memcpy(memory + object.places[number], content.data(), content.size());
  }
  for (const Relocation& relocation : object.relocations) {
    const Symbol& symbol = object.symbols[relocation.symbol];
    uint64_t target;
    if (symbol.section == kUndefined) {
      auto found = functions_.find(symbol.name);
      target = found != functions_.end() ? found->second : stubs_.at(symbol.name);
    } else {
      if (symbol.section >= object.places.size() || object.places[symbol.section] == kAbsent)
        refuse("a relocation of a symbol that is in no section");
      target = object.places[symbol.section] + symbol.value;
    }
    size_t at = object.places[relocation.section] + relocation.offset;
    uint64_t room = object.sections[relocation.section].size - relocation.offset;
    Place place{memory + at, address + at, room,
                address + target + static_cast<uint64_t>(relocation.addend), symbol.name};
    (object.machine == kX86_64 ? relocate_x86_64 : relocate_aarch64)(relocation.kind, place);
  }
}

namespace {

[[noreturn]] void failed(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

std::map<std::string, uint64_t> load_code(const std::vector<std::string_view>& objects,
                                          const std::map<std::string, uint64_t>& elsewhere) {
  LinkedCode code(objects);
  std::map<std::string, uint64_t> made;
  if (!code.size()) return made;
  void* memory =
      mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) failed("no memory for code");
  auto* begin = static_cast<uint8_t*>(memory);
  uint64_t address = reinterpret_cast<uint64_t>(memory);
  try {
    code.write(begin, address, elsewhere);
  } catch (...) {
    munmap(memory, code.size());
    throw;
  }
  if (mprotect(memory, code.size(), PROT_READ | PROT_EXEC)) {
    munmap(memory, code.size());
    failed("memory cannot be made executable");
  }
  __builtin___clear_cache(reinterpret_cast<char*>(begin),
                          reinterpret_cast<char*>(begin + code.size()));
  for (const auto& [name, place] : code.functions()) made[name] = address + place;
  return made;
}

uint64_t map_code(const std::string& path, uint64_t offset, uint64_t size,
                  const std::map<std::string, size_t>& elsewhere) {
  std::map<size_t, uint64_t> ways;
  for (const auto& [name, place] : elsewhere) {
    if (place > size || size - place < kStub) refuse("'" + name + "' is beyond the code");
    ways[place + kStub / 2] = of_the_library(name);
  }
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) failed(path);
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, static_cast<off_t>(offset));
  int error = errno;
  close(file);
  errno = error;
  if (memory == MAP_FAILED) failed(path);
  auto* begin = static_cast<char*>(memory);
  if (!ways.empty()) {
    size_t first = ways.begin()->first / kLargestPage * kLargestPage;
    if (mprotect(begin + first, size - first, PROT_READ | PROT_WRITE)) failed(path);
    for (const auto& [place, address] : ways) std::memcpy(begin + place, &address, 8);
    if (mprotect(begin + first, size - first, PROT_READ | PROT_EXEC)) failed(path);
    __builtin___clear_cache(begin + first, begin + size);
  }
  return reinterpret_cast<uint64_t>(memory);
}

}  // namespace tigon
