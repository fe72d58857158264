#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What functions return. Anything but MODEL_OK comes with a text: model_last_error. */
enum {
  MODEL_OK = 0,
  MODEL_BAD_ARGUMENT = 1,  /* a null pointer, a wrong shape or dtype, memory that is too small */
  MODEL_BAD_EXTENT = 2,    /* a size that this library has no code for, or beyond the largest */
  MODEL_UNFIT_MACHINE = 3, /* the processor lacks instructions that all code here needs */
  MODEL_NO_MEMORY = 4,
  MODEL_BAD_WEIGHTS = 5, /* no file, or another one than the library was made with */
  MODEL_FAILED = 6,      /* an operator refused its operands, say an index out of range */
  MODEL_NO_SUCH = 7      /* there is no description of that number */
};

enum { MODEL_MOST_DIMENSIONS = 8 };

/* Codes of element types. */
enum {
  MODEL_FLOAT32 = 0,
  MODEL_FLOAT64 = 1,
  MODEL_FLOAT16 = 2,
  MODEL_UINT8 = 3,
  MODEL_INT32 = 4,
  MODEL_INT8 = 5,
  MODEL_INT64 = 6,
  MODEL_BOOL = 7,
  MODEL_INT16 = 8,
  MODEL_UINT16 = 9,
  MODEL_UINT32 = 10,
  MODEL_UINT64 = 11,
  MODEL_BFLOAT16 = 12
};

/* A dense array in row-major order, in the caller's memory. */
typedef struct model_array {
  void* data;
  size_t bytes; /* of the memory at `data`; for outputs: how much may be written */
  int32_t dtype;
  int32_t dimensions;
  int64_t shape[MODEL_MOST_DIMENSIONS];
} model_array;

typedef struct model_description {
  const char* name;
  int32_t dtype;
  int32_t dimensions;
  int64_t shape[MODEL_MOST_DIMENSIONS]; /* -1 - i: the open extent number i; for an extent: its
                                           size at export; -1000: follows from others */
  size_t bytes;                         /* of weights and states */
} model_description;

/* Everything may be zero, but `size` is sizeof(model_options): with another one, which is that of
   another header, model_create returns MODEL_BAD_ARGUMENT without a message. */
typedef struct model_options {
  size_t size;
  const int64_t* largest; /* of each open extent; null: as at export. Runs below allocate nothing */
  const char* weights_path; /* of the weights' file, where they are not inside */
  const void* weights;      /* or its content, which must stay, */
  size_t weights_bytes;     /* and how long that is */
  const char* level;        /* run the code of this level; null: the best for this processor */
  int64_t seed;             /* of random numbers */
  /* Memory; null: pages of the system, in libraries for Linux. `allocate` gives null where there is
   * none. */
  void* (*allocate)(void* context, size_t bytes);
  void (*release)(void* context, void* block, size_t bytes);
  /* Call body(work, i, worker) for i = 0 ... count - 1, in any order, and return when all have
     ended; calls at one time have different numbers of workers, below `workers`. Null: the thread
     that calls model_run does all. Results are the same. */
  void (*parallel_for)(void* context, int64_t count,
                       void (*body)(void* work, int64_t index, int32_t worker), void* work);
  void* context;   /* for the three functions */
  int32_t workers; /* of parallel_for: 1 or more */
  char* message;   /* where model_create writes why it failed, with a zero at the end */
  size_t message_bytes;
} model_options;

/* One instance: memory to run in, states, random numbers. Several may run at once; one instance
   serves one thread at a time. */
typedef struct model_instance model_instance;

/* *made is the new instance, or null. */
int32_t model_create(const model_options* options, model_instance** made);
void model_destroy(model_instance* instance);

/* Inputs and outputs in the order of their descriptions. Shapes and dtypes of outputs are filled
   in; an output whose `data` is null is only told its shape, and then nothing is computed. */
int32_t model_run(model_instance* instance, const model_array* inputs, model_array* outputs);

/* Why the last call failed; "" if it did not, unless an operator has noticed something that its
   caller should know, as Python warns of. The text stays until the next call. */
const char* model_last_error(const model_instance* instance);

enum {
  MODEL_INPUT = 0,
  MODEL_OUTPUT = 1,
  MODEL_EXTENT = 2,
  MODEL_STATE = 3,
  MODEL_WEIGHT = 4,
  MODEL_LEVEL = 5
};
int32_t model_describe(int32_t kind, int32_t index, model_description* description);

/* A state of this instance, such as a weight that is trained: its memory, to be read or written
   between runs. */
int32_t model_state(model_instance* instance, int32_t index, model_array* state);

/* From now on random numbers are those that follow this seed. */
int32_t model_seed(model_instance* instance, int64_t seed);

#ifdef __cplusplus
}
#endif

#endif
