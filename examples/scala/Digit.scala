import java.nio.charset.StandardCharsets.ISO_8859_1
import java.nio.file.{Files, Paths}

/** Reads pictures of digits (PGM) and prints which ones they are. The network is a library that
  * `net.export_native("digits")` wrote, called by `Model` of `examples/java` (foreign functions,
  * Java 22) or of `examples/java-jna`, whose classes are in CLASSES:
  *
  * {{{
  * scalac -cp CLASSES -d CLASSES Digit.scala
  * scala -cp CLASSES Digit OUTPUT/digits.so first.pgm second.pgm
  * }}}
  */
object Digit {
  private val Head = """(?s)(P[25])\s+(\d+)\s+(\d+)\s+(\d+)\s(.*)""".r

  /** The picture as numbers from 0 to 1, row by row, with its shape. */
  def readPicture(path: String): (Array[Float], Seq[Long]) =
    new String(Files.readAllBytes(Paths.get(path)), ISO_8859_1) match {
      case Head(kind, width, height, white, rest) =>
        val values: Seq[Int] =
          if (kind == "P5") rest.map(_.toInt) else rest.trim.split("\\s+").map(_.toInt)
        val pixels = values.take(width.toInt * height.toInt).map(_ / white.toFloat)
        if (pixels.size < width.toInt * height.toInt) sys.error(s"$path: ends early")
        (pixels.toArray, Seq(1, 1, height.toLong, width.toLong))
      case _ => sys.error(s"$path: expected a picture as PGM")
    }

  def main(arguments: Array[String]): Unit = {
    val model = new Model(arguments.head)
    try for (path <- arguments.tail) {
      val (pixels, shape) = readPicture(path)
      val scores = model.run(pixels, shape: _*)
      println(scores.indexOf(scores.max))
    }
    finally model.close()
  }
}
