// Reads pictures of digits (PGM) and prints which ones they are, all in one call. The network is a
// library that `net.export_native("digits")` wrote; nothing else is needed:
//
//     c++ -std=c++17 -I OUTPUT digit.cpp OUTPUT/digits.so -Wl,-rpath,OUTPUT -pthread -o digit
//     ./digit first.pgm second.pgm
#include <algorithm>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "digits.hpp"

constexpr int kSide = 8, kPixels = kSide * kSide, kClasses = 10;

// The picture as numbers from 0 to 1, at the end of `pixels`.
void read_picture(const std::string& path, std::vector<float>& pixels) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int columns = 0, rows = 0, white = 0;
  file >> kind >> columns >> rows >> white;
  if (!file || columns != kSide || rows != kSide || white < 1 || white > 255)
    throw std::runtime_error(path + ": expected a picture of 8x8 pixels as PGM");
  if (kind == "P5") file.get();
  for (int i = 0; i < kPixels; ++i) {
    int value = 0;
    if (kind == "P5")
      value = file.get();
    else
      file >> value;
    if (!file) throw std::runtime_error(path + ": ends early");
    pixels.push_back(static_cast<float>(value) / static_cast<float>(white));
  }
}

int main(int count, char** arguments) {
  try {
    std::vector<float> pixels;
    for (int i = 1; i < count; ++i) read_picture(arguments[i], pixels);
    const std::int64_t pictures = count - 1, largest = std::max<std::int64_t>(1, pictures);
    digits_options options{};
    options.largest = &largest;
    digits::Model net(options, 2);
    std::vector<float> scores(static_cast<std::size_t>(pictures * kClasses));
    net.run({digits::input(pixels, {pictures, 1, kSide, kSide})}, {digits::output(scores)});
    for (std::int64_t i = 0; i < pictures; ++i) {
      auto first = scores.begin() + i * kClasses;
      std::cout << std::max_element(first, first + kClasses) - first << "\n";
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
