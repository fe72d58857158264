// Does on Linux what the loaders of Windows and macOS do with a library that imports nothing: puts
// its parts where its headers say, and finds functions by name. Then runs a network that takes one
// array of float32, all elements 0.25, and prints the results' bits.
//
//     other_systems FILE ROWS COLUMNS    (with -DWINDOWS: a .dll, in whose way functions are called)
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tigon/standalone/model.h"

#ifdef WINDOWS
#define CALLED __attribute__((ms_abi))
#else
#define CALLED
#endif

#define PART(type, place) (*(type*)(file + (place)))

static char* file;
static char* image;

#ifdef WINDOWS
static void load(void) {
  uint32_t head = PART(uint32_t, 60) + 4;
  uint16_t sections = PART(uint16_t, head + 2);
  uint32_t options = head + 20;
  image = mmap(NULL, PART(uint32_t, options + 56), 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (uint16_t i = 0; i < sections; ++i) {
    uint32_t row = options + PART(uint16_t, head + 16) + 40u * i;
    memcpy(image + PART(uint32_t, row + 12), file + PART(uint32_t, row + 20),
           PART(uint32_t, row + 16));
  }
}

static void* find(const char* name) {
  uint32_t options = PART(uint32_t, 60) + 24;
  char* table = image + PART(uint32_t, options + 112);
  uint32_t* words = (uint32_t*)table;
  for (uint32_t i = 0; i < words[6]; ++i) {
    uint32_t text = ((uint32_t*)(image + words[8]))[i];
    uint16_t number = ((uint16_t*)(image + words[9]))[i];
    if (!strcmp(image + text, name)) return image + ((uint32_t*)(image + words[7]))[number];
  }
  return NULL;
}
#else
static void load(void) {
  uint32_t at = 32;
  image = mmap(NULL, 1 << 24, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (uint32_t i = 0; i < PART(uint32_t, 16); ++i, at += PART(uint32_t, at + 4))
    if (PART(uint32_t, at) == 0x19)
      memcpy(image + PART(uint64_t, at + 24), file + PART(uint64_t, at + 40),
             PART(uint64_t, at + 48));
}

static uint64_t number(unsigned char** place) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    unsigned char byte = *(*place)++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

static void* find(const char* name) {
  char full[64];
  uint32_t at = 32;
  while (PART(uint32_t, at) != 0x80000022) at += PART(uint32_t, at + 4);
  unsigned char* trie = (unsigned char*)file + PART(uint32_t, at + 40);
  unsigned char* place = trie + 1;
  snprintf(full, sizeof full, "_%s", name);
  for (int edges = *place++; edges; --edges) {
    int fits = !strcmp((char*)place, full);
    place += strlen((char*)place) + 1;
    unsigned char* leaf = trie + number(&place);
    if (!fits) continue;
    number(&leaf);
    number(&leaf);
    return image + number(&leaf);
  }
  return NULL;
}
#endif

static void* CALLED take(void* context, size_t bytes) {
  return aligned_alloc(64, (bytes + 63) / 64 * 64 + (context ? 1 : 0));
}

static void CALLED give_back(void* context, void* block, size_t bytes) {
  if (!context && bytes) free(block);
}

int main(int count, char** arguments) {
  FILE* given = fopen(arguments[1], "rb");
  if (count != 4 || !given) return 2;
  int64_t rows = atol(arguments[2]), columns = atol(arguments[3]);
  file = malloc(1 << 24);
  size_t length = fread(file, 1, 1 << 24, given);
  fclose(given);
  if (!length) return 2;
  load();
  int32_t CALLED (*create)(const model_options*, model_instance**) = find("model_create");
  int32_t CALLED (*run)(model_instance*, const model_array*, model_array*) = find("model_run");
  const char* CALLED (*error)(const model_instance*) = find("model_last_error");
  void CALLED (*destroy)(model_instance*) = find("model_destroy");
  char message[256] = "";
  model_options options = {.size = sizeof options, .message = message, .message_bytes = 256};
  model_instance* net;
  if (create(&options, &net) != MODEL_BAD_ARGUMENT) return 3;
  fprintf(stderr, "%s\n", message);
  options.allocate = (void* (*)(void*, size_t))take;
  options.release = (void (*)(void*, void*, size_t))give_back;
  options.largest = &rows;
  if (create(&options, &net)) return fprintf(stderr, "%s\n", message), 1;
  float* elements = malloc((size_t)(rows * columns) * sizeof(float));
  for (int64_t i = 0; i < rows * columns; ++i) elements[i] = 0.25f;
  uint32_t* results = malloc(1 << 16);
  model_array in = {elements, (size_t)(rows * columns) * 4, MODEL_FLOAT32, 2, {rows, columns}};
  model_array out = {.data = results, .bytes = 1 << 16};
  if (run(net, &in, &out)) return fprintf(stderr, "%s\n", error(net)), 1;
  for (int64_t i = 0; i < out.shape[0] * out.shape[1]; ++i) printf("%u\n", results[i]);
  destroy(net);
  return 0;
}
