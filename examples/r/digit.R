# Reads pictures of digits (PGM) and prints which ones they are. `digit.c` is built first, against
# the library that `net.export_native("digits")` wrote:
#
#     Rscript digit.R digit.so first.pgm second.pgm

# The picture as numbers from 0 to 1, row by row, with its shape.
read_picture <- function(path) {
  bytes <- readBin(path, "raw", file.size(path))
  text <- rawToChar(replace(bytes, bytes == 0, charToRaw(" ")))
  head <- regmatches(text, regexpr("^P[25]\\s+\\d+\\s+\\d+\\s+\\d+\\s", text, useBytes = TRUE))
  if (length(head) == 0) stop(path, ": expected a picture as PGM", call. = FALSE)
  words <- strsplit(head, "\\s+")[[1]]
  size <- as.integer(words[2:4]) # columns, rows, what is white
  values <- if (words[1] == "P5") as.integer(bytes[-seq_len(nchar(head))])
            else scan(text = substring(text, nchar(head) + 1), quiet = TRUE)
  if (length(values) < size[1] * size[2]) stop(path, ": ends early", call. = FALSE)
  list(pixels = values[seq_len(size[1] * size[2])] / size[3], shape = size[2:1])
}

# What a function of the library has filled in.
call <- function(...) {
  result <- .C(..., message = strrep(" ", 255))
  if (result$message != "") stop(result$message, call. = FALSE)
  result
}

paths <- commandArgs(trailingOnly = TRUE)
dyn.load(paths[1])
classes <- call("digit_open", classes = integer(1))$classes
for (path in paths[-1]) {
  picture <- read_picture(path)
  scores <- call("digit_scores", as.single(picture$pixels), picture$shape,
                 scores = single(classes), classes)$scores
  cat(which.max(scores) - 1, "\n", sep = "")
}
invisible(.C("digit_close"))
