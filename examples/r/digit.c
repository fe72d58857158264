/* Between R, whose `.C` hands over pointers to numbers and texts and nothing else, and a library
   that `net.export_native("digits")` wrote:

       cc -shared -fPIC -I OUTPUT digit.c OUTPUT/digits.so -Wl,-rpath,OUTPUT -o digit.so
*/
#include <stdio.h>

#include "digits.h"

static digits_instance* net;

/* message: 255 characters; "" afterwards, if all went well. */
void digit_open(int* classes, char** message) {
  digits_options options = {.size = sizeof options, .message = *message, .message_bytes = 256};
  digits_description scores;
  digits_describe(DIGITS_OUTPUT, 0, &scores);
  *classes = (int)scores.shape[1];
  if (net || digits_create(&options, &net) == DIGITS_OK) **message = 0;
}

/* shape: rows, columns; as.single(x) is a pointer to float. */
void digit_scores(float* pixels, int* shape, float* scores, int* classes, char** message) {
  digits_array output = {.data = scores, .bytes = *classes * sizeof *scores};
  digits_array input = {
      pixels, shape[0] * shape[1] * sizeof *pixels, DIGITS_FLOAT32, 4, {1, 1, shape[0], shape[1]}};
  digits_run(net, &input, &output);
  snprintf(*message, 256, "%s", digits_last_error(net));
}

void digit_close(void) {
  digits_destroy(net);
  net = NULL;
}
