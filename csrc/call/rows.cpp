// Rows of an array, written at places that are data. Nothing else of it is touched.
#include "call/dispatch.h"
#include "call/tasks.h"
#include "engine/engine.h"
#include "python/errors.h"

namespace tigon {
namespace {

class RowsTask final : public Task {
 public:
  RowsTask(Array* rows, Array* values, Array* target)
      : rows_(rows->storage.get()), values_(values->storage.get()), target_(target->storage.get()),
        rows_at_(rows->offset), values_at_(values->offset), target_at_(target->offset),
        count_(rows->type->size), extent_(target->type->dims[0]),
        bytes_(extent_ ? target->type->nbytes / static_cast<size_t>(extent_) : 0) {
    reads.push_back(rows->storage);
    reads.push_back(values->storage);
    Write write{target->storage, false, true, true, {}};
    writes.push_back(write);
  }

 protected:
  std::string title() const override { return "write_rows"; }

  bool execute() override {
    const auto* places = reinterpret_cast<const int64_t*>(rows_->data() + rows_at_);
    for (int64_t index = 0; index < count_; ++index) {
      if (places[index] < 0 || places[index] >= extent_)
        throw UserError("write_rows: expected rows from 0 to " + std::to_string(extent_ - 1) +
                        "; given " + std::to_string(places[index]));
    }
    const char* from = values_->data() + values_at_;
    char* to = target_->data() + target_at_;
    for (int64_t index = 0; index < count_; ++index, from += bytes_)
      std::memcpy(to + static_cast<size_t>(places[index]) * bytes_, from, bytes_);
    return true;
  }

 private:
  Storage* rows_;
  Storage* values_;
  Storage* target_;
  int64_t rows_at_;
  int64_t values_at_;
  int64_t target_at_;
  int64_t count_;
  int64_t extent_;
  size_t bytes_;
};

}  // namespace

void write_rows(Array* rows, Array* values, Array* target) {
  for (Array* array : {rows, values, target}) {
    check_not_donated(array);
    check_on_host(array, "write_rows");
  }
  const ArrayType& whole = *target->type;
  const ArrayType& part = *values->type;
  bool fits = rows->type->ndim == 1 && rows->type->dtype == kInt64Code && whole.ndim > 0 &&
              part.ndim == whole.ndim && part.dtype == whole.dtype &&
              part.dims[0] == rows->type->size &&
              std::equal(part.dims + 1, part.dims + part.ndim, whole.dims + 1);
  if (!fits)
    throw UserError("write_rows: expected numbers of rows as int64 and as many rows of " +
                    whole.text() + "; given " + rows->type->text() + " and " + part.text());
  if (target->storage == values->storage || target->storage == rows->storage)
    throw UserError("write_rows: expected rows apart from the array that they go to");
  if (!rows->type->size) return;
  note_write(*target->storage);
  push(Ref<Task>(new RowsTask(rows, values, target)));
  if (Engine::instance().naive) wait_to_read(target);
}

}  // namespace tigon
