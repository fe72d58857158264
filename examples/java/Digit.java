import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads pictures of digits (PGM) and prints which ones they are. The network is a library that
 * {@code net.export_native("digits")} wrote:
 *
 * <pre>java --enable-native-access=ALL-UNNAMED Digit.java OUTPUT/digits.so first.pgm</pre>
 */
public final class Digit {
  private static final Pattern HEAD = Pattern.compile("P([25])\\s+(\\d+)\\s+(\\d+)\\s+(\\d+)\\s");

  public static void main(String[] arguments) throws IOException {
    try (Model model = new Model(arguments[0])) {
      for (int i = 1; i < arguments.length; ++i) {
        float[] scores = classify(model, Path.of(arguments[i]));
        int best = 0;
        for (int digit = 1; digit < scores.length; ++digit)
          if (scores[digit] > scores[best]) best = digit;
        System.out.println(best);
      }
    }
  }

  private static float[] classify(Model model, Path path) throws IOException {
    String text = Files.readString(path, StandardCharsets.ISO_8859_1); // a character for each byte
    Matcher head = HEAD.matcher(text);
    if (!head.lookingAt()) throw new IOException(path + ": expected a picture as PGM");
    int width = Integer.parseInt(head.group(2)), height = Integer.parseInt(head.group(3));
    float[] pixels = new float[width * height]; // from 0 to 1
    String rest = text.substring(head.end());
    String[] words = head.group(1).equals("2") ? rest.trim().split("\\s+") : null;
    if ((words == null ? rest.length() : words.length) < pixels.length)
      throw new IOException(path + ": ends early");
    for (int i = 0; i < pixels.length; ++i) {
      int value = words == null ? rest.charAt(i) : Integer.parseInt(words[i]);
      pixels[i] = value / Float.parseFloat(head.group(4));
    }
    return model.run(pixels, 1, 1, height, width);
  }
}
