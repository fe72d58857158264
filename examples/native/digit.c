/* Reads a picture of a digit (PGM) and prints which one it is. The network is a library that
   `net.export_native("digits")` wrote; nothing else is needed:

       cc -I OUTPUT digit.c OUTPUT/digits.so -Wl,-rpath,OUTPUT -o digit
       ./digit picture.pgm
*/
#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

/* The picture as numbers from 0 to 1, of exactly this size; 0 where it is no such picture. */
static int read_picture(const char* path, float* pixels, long width, long height) {
  FILE* file = fopen(path, "rb");
  long columns, rows, white, value;
  int is_text = 0, fits;
  if (!file) return 0;
  fits = fgetc(file) == 'P';
  is_text = fgetc(file) == '2'; /* P2 is text, P5 bytes */
  fits = fits && fscanf(file, "%ld %ld %ld", &columns, &rows, &white) == 3;
  fits = fits && columns == width && rows == height && white > 0 && white < 256;
  if (fits && !is_text) fgetc(file);
  for (long i = 0; fits && i < width * height; ++i) {
    if (is_text)
      fits = fscanf(file, "%ld", &value) == 1;
    else
      fits = (value = fgetc(file)) != EOF;
    pixels[i] = (float)value / (float)white;
  }
  fclose(file);
  return fits;
}

int main(int count, char** arguments) {
  char message[256] = "";
  float pixels[1 * 1 * 8 * 8], scores[10];
  digits_options options = {.size = sizeof options, .message = message, .message_bytes = 256};
  digits_array input = {pixels, sizeof pixels, DIGITS_FLOAT32, 4, {1, 1, 8, 8}};
  digits_array output = {.data = scores, .bytes = sizeof scores};
  digits_instance* net;
  int best = 0;

  if (count != 2 || !read_picture(arguments[1], pixels, 8, 8)) {
    fprintf(stderr, "expected a picture of 8x8 pixels as PGM\n");
    return 2;
  }
  if (digits_create(&options, &net) != DIGITS_OK) {
    fprintf(stderr, "%s\n", message);
    return 1;
  }
  if (digits_run(net, &input, &output) != DIGITS_OK) {
    fprintf(stderr, "%s\n", digits_last_error(net));
    return 1;
  }
  for (int digit = 1; digit < 10; ++digit)
    if (scores[digit] > scores[best]) best = digit;
  printf("%d\n", best);
  digits_destroy(net);
  return 0;
}
