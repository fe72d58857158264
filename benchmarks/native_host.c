// An empty program that reads a file of weights once, opens an exported library, and runs it. It
// tells the milliseconds of reading, those from opening to the first result, and the kilobytes of
// resident memory before and after.
//
//     native_host MODEL.so WEIGHTS.safetensors
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tigon/standalone/model.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static long resident(void) {
  char line[256];
  long found = 0;
  FILE* file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (!strncmp(line, "VmRSS:", 6)) found = atol(line + 6);
  if (file) fclose(file);
  return found;
}

// All of a file, once.
static double read_ms(const char* path) {
  struct stat told;
  double began = now();
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &told)) return -1;
  const uint64_t* words = mmap(NULL, (size_t)told.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  volatile uint64_t sum = 0;
  uint64_t total = 0;
  for (size_t i = 0; i < (size_t)told.st_size / 8; ++i) total += words[i];
  sum = total;
  (void)sum;
  munmap((void*)words, (size_t)told.st_size);
  close(file);
  return (now() - began) / 1e3;
}

#define FIND(name) __typeof__(&name) p_##name = (__typeof__(&name))dlsym(library, #name)

int main(int count, char** arguments) {
  if (count != 3) return 2;
  char message[512] = "";
  double reading = read_ms(arguments[2]);
  reading = read_ms(arguments[2]);
  long before = resident();
  double began = now();
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  FIND(model_create);
  FIND(model_describe);
  FIND(model_run);
  FIND(model_last_error);
  model_options options = {.size = sizeof options};
  options.message = message;
  options.message_bytes = sizeof message;
  options.weights_path = arguments[2];
  model_instance* net;
  if (p_model_create(&options, &net)) return fprintf(stderr, "%s\n", message), 1;
  model_description told;
  p_model_describe(MODEL_INPUT, 0, &told);
  model_array in = {.dtype = told.dtype, .dimensions = told.dimensions}, out = {0};
  in.bytes = sizeof(float);
  for (int i = 0; i < told.dimensions; ++i) {
    in.shape[i] = told.shape[i];
    in.bytes *= (size_t)in.shape[i];
  }
  in.data = calloc(1, in.bytes);
  p_model_run(net, &in, &out);
  out.bytes = sizeof(float);
  for (int i = 0; i < out.dimensions; ++i) out.bytes *= (size_t)out.shape[i];
  out.data = malloc(out.bytes);
  if (p_model_run(net, &in, &out)) return fprintf(stderr, "%s\n", p_model_last_error(net)), 1;
  double first = now() - began;
  printf("%.4f %.4f %ld %ld\n", reading, first / 1e3, before, resident());
  return 0;
}
